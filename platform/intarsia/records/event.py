"""User events (impressions, clicks, purchases, ...), each with the request and release that produced the page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from intarsia.ids import EventId, ProductId, ReleaseId, RequestId

EventKind = Literal["impression", "view", "click", "add_to_cart", "purchase", "rating", "review", "share"]
EVENT_KINDS: tuple[str, ...] = get_args(EventKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event on one product.

    `position` counts from 1 on the page. `dwell_ms` is the time spent on the product. `value` is a rating or an amount.
    """

    event_id: EventId
    request_id: RequestId
    release_id: ReleaseId
    kind: EventKind
    product_id: ProductId
    position: int | None = None
    value: float | None = None
    dwell_ms: int | None = None
    user_id: str | None = None
    session_id: str | None = None
    occurred_at: datetime
    received_at: datetime

    def __post_init__(self) -> None:
        if not (self.event_id and self.request_id and self.product_id):
            raise ValueError("event_id, request_id and product_id must not be empty")
        if self.kind not in EVENT_KINDS:
            raise ValueError(f"kind is {self.kind!r}; allowed: {', '.join(EVENT_KINDS)}")
        if self.position is not None and self.position < 1:
            raise ValueError(f"position is {self.position}; allowed: 1 or more")
        if self.dwell_ms is not None and self.dwell_ms < 0:
            raise ValueError(f"dwell_ms is {self.dwell_ms}; allowed: 0 or more")
        if self.occurred_at.tzinfo is None or self.received_at.tzinfo is None:
            raise ValueError("occurred_at and received_at need a time zone; allowed: UTC")
        if self.occurred_at > self.received_at:
            raise ValueError(f"occurred_at {self.occurred_at} is after received_at {self.received_at}")
