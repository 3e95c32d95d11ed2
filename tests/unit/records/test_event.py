from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from intarsia.records.event import EVENT_KINDS, Event

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(**changes: Any) -> Event:
    defaults = {
        "event_id": "e1",
        "request_id": "q1",
        "release_id": "r-1",
        "kind": "click",
        "product_id": "p1",
        "occurred_at": NOW,
        "received_at": NOW,
    }
    return Event(**{**defaults, **changes})


@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_every_kind_is_allowed(kind: str) -> None:
    assert event(kind=kind).kind == kind


def test_the_smallest_allowed_values_are_allowed() -> None:
    assert event(position=1, dwell_ms=0, value=-3.0).position == 1


@pytest.mark.parametrize("name", ["event_id", "request_id", "product_id"])
def test_an_event_without_ids_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="event_id, request_id and product_id must not be empty"):
        event(**{name: ""})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "clik"}, r"kind is 'clik'; allowed: impression, view, click, add_to_cart, purchase, rating, review"),
        ({"position": 0}, r"position is 0; allowed: 1 or more"),
        ({"dwell_ms": -1}, r"dwell_ms is -1; allowed: 0 or more"),
        ({"occurred_at": datetime(2026, 1, 1)}, r"occurred_at and received_at need a time zone; allowed: UTC"),
        ({"received_at": datetime(2026, 1, 1)}, r"occurred_at and received_at need a time zone; allowed: UTC"),
        ({"occurred_at": NOW + timedelta(seconds=1)}, r"occurred_at 2026-01-01 00:00:01\+00:00 is after received_at"),
    ],
)
def test_an_invalid_event_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        event(**changes)
