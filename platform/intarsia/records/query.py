"""A question to the shop: words, a picture, products to start from, a person; what is given differs, the type does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from intarsia.ids import ProductId, RequestId, SpaceId, new_request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a product must be, exactly, before anything is retrieved; an empty filter allows everything.

    `category` is a path prefix; `brands` and each attribute's values are alternatives; different attributes must all hold. Prices are
    minor units, both ends included; a product without a price fails a price filter. `exclude` takes products out by id.
    """

    category: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    price_min: int | None = None
    price_max: int | None = None
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    in_stock: bool | None = None
    exclude: tuple[ProductId, ...] = ()

    def __post_init__(self) -> None:
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            raise ValueError(f"price_min {self.price_min} is above price_max {self.price_max}")

    @property
    def is_empty(self) -> bool:
        """Whether every product passes."""
        return self == Filters()


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One request; at least one of text, image, seeds and user must be given. `image` holds the picture file's bytes;
    `facets` names what to count over the match set.
    """

    request_id: RequestId = field(default_factory=new_request_id)
    text: str | None = None
    image: bytes | None = None
    seed_product_ids: tuple[ProductId, ...] = ()
    user_id: str | None = None
    session_id: str | None = None
    filters: Filters = field(default_factory=Filters)
    locale: str = "en"
    asked_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    offset: int = 0
    limit: int = 10
    facets: tuple[str, ...] = ()
    explain: bool = False

    def __post_init__(self) -> None:
        if not (self.text or self.image or self.seed_product_ids or self.user_id):
            raise ValueError("a query needs at least one of text, image, seed_product_ids, user_id")
        if self.asked_at.tzinfo is None:
            raise ValueError("asked_at has no time zone; allowed: UTC")
        if self.offset < 0 or self.limit < 1:
            raise ValueError(f"offset is {self.offset} and limit {self.limit}; allowed: 0 or more, 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryVector:
    """A query part as one unit vector float32 [D] of a named space."""

    space_id: SpaceId
    values_D: NDArray[np.float32]

    def __post_init__(self) -> None:
        assert self.values_D.ndim == 1
        assert self.values_D.dtype == np.float32
        self.values_D.setflags(write=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedQuery:
    """A query with its vectors by retriever name (`text`, `image`); a part that was not given or not encoded is not there."""

    query: Query
    vectors: Mapping[str, QueryVector] = field(default_factory=dict)
