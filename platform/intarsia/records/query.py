"""Search and recommendation requests: any combination of text, image, seed products and user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from intarsia.ids import ProductId, RequestId, SpaceId, new_request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Exact filters, applied before retrieval; an empty filter allows every product.

    `category` is a path prefix. `brands` and the values of one attribute are alternatives; different attributes must
    all match. Prices are in minor units, both ends included; a product without a price fails a price filter. `exclude`
    removes products by id.
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
    """One request; needs at least one of text, image, seed products and user.

    `image` holds the bytes of an image file. `facets` names the facets to count over the match set. `asked_at` is the
    time of the request.

    >>> Query(text="red sneakers", filters=Filters(in_stock=True), limit=3).filters.in_stock
    True
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
    """A query part as a unit vector float32 [D] in the vector space `space_id`."""

    space_id: SpaceId
    values_D: NDArray[np.float32]

    def __post_init__(self) -> None:
        assert self.values_D.ndim == 1
        assert self.values_D.dtype == np.float32
        self.values_D.setflags(write=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedQuery:
    """A query and its vectors by retriever name (`text`, `image`); a part that is missing or not encoded has none."""

    query: Query
    vectors: Mapping[str, QueryVector] = field(default_factory=dict)
