"""A page of search results. Its JSON form: see `serve_apps/http/responses.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from intarsia.ids import ReleaseId, RequestId


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One product on the page.

    Attributes:
        row: row number of the product.
        position: from 1 over all pages.
        score: ranker score.
        fused: fused score.
        retrievers: retriever that returned the product -> its rank.
        image_number: number of the image that matched best.
        contributions: feature -> part of `score`, with the bias under ""; they sum to `score`. None unless requested.
    """

    row: int
    position: int
    score: float
    fused: float
    retrievers: Mapping[str, int]
    image_number: int | None = None
    contributions: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetValue:
    """One value of a facet and the number of products in the match set that have it."""

    value: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The hits of one request.

    `total` is the size of the match set, `reachable` the part that paging can reach (the candidate window).
    """

    request_id: RequestId
    release_id: ReleaseId
    hits: tuple[Hit, ...]
    total: int
    reachable: int
    facets: Mapping[str, tuple[FacetValue, ...]] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()
