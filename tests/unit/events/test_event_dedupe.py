from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from intarsia.events.clean import EventReject
from intarsia.events.dedupe import EventBatch, deduplicate_events, make_event_batch
from intarsia.records.event import Event
from intarsia.tables.events import EVENTS, REJECTED_EVENTS

_NOON = datetime(2024, 5, 31, 12, tzinfo=UTC)


def _event(event_id: str, seconds: int, *, position: int = 1) -> Event:
    return Event(
        event_id=event_id,
        request_id="r",
        release_id="v",
        kind="view",
        product_id="P",
        position=position,
        occurred_at=_NOON,
        received_at=_NOON + timedelta(seconds=seconds),
    )


def _batches() -> list[EventBatch]:
    broken = EventReject(file="a", row=2, key="", field="row", reason="broken_json", found="{", fix="close it")
    return [
        make_event_batch(0, [("a", 1, _event("y", 9)), ("a", 2, broken), ("a", 3, _event("x", 9))]),
        make_event_batch(1, [("a", 4, _event("y", 5, position=2)), ("a", 5, _event("x", 9, position=3))]),
        make_event_batch(2, []),
    ]


def test_events_are_unique_and_sorted_by_receipt() -> None:
    events, rejected = deduplicate_events(_batches())
    assert [(row["event_id"], row["position"]) for row in events.to_pylist()] == [("y", 2), ("x", 1)]
    assert [(row["row"], row["reason"], row["key"]) for row in rejected.to_pylist()] == [
        (1, "duplicate_event", "y"),
        (2, "broken_json", ""),
        (5, "duplicate_event", "x"),
    ]
    assert events.num_rows + rejected.num_rows == sum(batch.num_rows for batch in _batches())
    assert (events.schema, rejected.schema) == (EVENTS.schema, REJECTED_EVENTS.schema)


def test_the_order_of_the_batches_does_not_matter() -> None:
    outcomes = [deduplicate_events(batches) for batches in itertools.permutations(_batches())]
    assert all(outcome == outcomes[0] for outcome in outcomes)


def test_no_events_give_empty_tables() -> None:
    events, rejected = deduplicate_events([])
    assert (events.num_rows, rejected.num_rows) == (0, 0)
