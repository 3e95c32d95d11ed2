"""The answer: an ordered page of hits, with where each came from. What a hit looks like in JSON is `serve_apps/wire`'s matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from intarsia.ids import ReleaseId, RequestId


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One product on the page.

    `position` counts from 1 over all pages; `retrievers` maps each retriever that returned it to its rank; `image_number` is the picture
    that matched best; `contributions` (only when asked for) maps feature -> share of `score`, and with `""` as the bias they sum to it.
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
    """One value of a facet and how many products of the match set have it."""

    value: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The hits of one request; `total` counts the whole match set, `reachable` those that paging can reach (the candidate window)."""

    request_id: RequestId
    release_id: ReleaseId
    hits: tuple[Hit, ...]
    total: int
    reachable: int
    facets: Mapping[str, tuple[FacetValue, ...]] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()
