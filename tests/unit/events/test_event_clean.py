from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from intarsia.config import build
from intarsia.errors import ConfigError
from intarsia.events.clean import EventCleaner, EventMapping, EventReason, EventReject
from intarsia.records.event import Event

_RAW: dict[str, Any] = {
    "event_id": "e1",
    "request_id": "r1",
    "release_id": "v1",
    "kind": "click",
    "product_id": "P1",
    "position": 3,
    "value": None,
    "dwell_ms": "250",
    "user_id": 7,
    "session_id": "",
    "occurred_at": "2024-05-31T12:00:00Z",
    "received_at": "2024-05-31T12:00:01+00:00",
}


def _clean(raw: dict[str, Any], **mapping: Any) -> Event | EventReject:
    return EventCleaner(build(EventMapping, mapping), frozenset({"P1"})).clean("events.jsonl", 5, raw)


def test_a_row_with_our_column_names_needs_no_mapping() -> None:
    assert _clean(_RAW) == Event(
        event_id="e1",
        request_id="r1",
        release_id="v1",
        kind="click",
        product_id="P1",
        position=3,
        dwell_ms=250,
        user_id="7",
        occurred_at=datetime(2024, 5, 31, 12, tzinfo=UTC),
        received_at=datetime(2024, 5, 31, 12, 0, 1, tzinfo=UTC),
    )


def test_columns_kinds_and_constants_are_mapped() -> None:
    raw = {"id": 1, "item": "P1", "behaviour": "buy", "ts": 1511544070, "who": "u9"}
    event = _clean(
        raw,
        columns={"event_id": "id", "product_id": "item", "kind": "behaviour", "occurred_at": "ts", "user_id": "who"},
        kinds={"buy": "purchase"},
        constants={"request_id": "log", "release_id": "none", "received_at": "occurred_at"},
    )
    assert isinstance(event, Event)
    assert (event.kind, event.request_id, event.release_id, event.user_id) == ("purchase", "log", "none", "u9")
    assert event.occurred_at == event.received_at == datetime(2017, 11, 24, 17, 21, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changed", "field", "reason", "fix"),
    [
        ({"event_id": None}, "event_id", EventReason.FIELD_MISSING, "every event needs it"),
        ({"event_id": ["x"]}, "event_id", EventReason.WRONG_TYPE, "give text or a whole number"),
        ({"request_id": " "}, "request_id", EventReason.FIELD_MISSING, "every event needs it"),
        ({"product_id": float("nan")}, "product_id", EventReason.FIELD_MISSING, "every event needs it"),
        ({"product_id": "P9"}, "product_id", EventReason.PRODUCT_UNKNOWN, "name a product of the catalog"),
        ({"kind": "klick"}, "kind", EventReason.KIND_UNKNOWN, "use one of impression"),
        ({"position": 0}, "position", EventReason.POSITION_INVALID, "give a number: whole, 1 or more"),
        ({"position": 1.5}, "position", EventReason.POSITION_INVALID, "give a number: whole, 1 or more"),
        ({"position": "first"}, "position", EventReason.WRONG_TYPE, "give a number: whole, 1 or more"),
        ({"position": True}, "position", EventReason.WRONG_TYPE, "give a number: whole, 1 or more"),
        ({"value": float("inf")}, "value", EventReason.VALUE_INVALID, "give a number: a finite number"),
        ({"dwell_ms": -1}, "dwell_ms", EventReason.DWELL_INVALID, "give a number: whole milliseconds, 0 or more"),
        ({"dwell_ms": 10**400}, "dwell_ms", EventReason.WRONG_TYPE, "give a number: whole milliseconds, 0 or more"),
        ({"occurred_at": None}, "occurred_at", EventReason.FIELD_MISSING, "every event needs it"),
        ({"occurred_at": "soon"}, "occurred_at", EventReason.DATE_UNPARSABLE, "write it as 2024-05-31T12:00:00Z"),
        ({"occurred_at": [1]}, "occurred_at", EventReason.DATE_UNPARSABLE, "write it as 2024-05-31T12:00:00Z"),
        ({"occurred_at": "0001-01-01"}, "occurred_at", EventReason.DATE_UNPARSABLE, "write it as 2024-05-31T12:00:00Z"),
        (
            {"received_at": "2024-05-31T11:59:59Z"},
            "received_at",
            EventReason.RECEIVED_BEFORE_OCCURRED,
            "set the clock of the sender",
        ),
    ],
)
def test_an_invalid_event_is_rejected_with_reason_and_fix(
    changed: dict[str, Any], field: str, reason: EventReason, fix: str
) -> None:
    reject = _clean(_RAW | changed)
    assert isinstance(reject, EventReject)
    assert (reject.field, reject.reason) == (field, reason)
    assert (reject.file, reject.row) == ("events.jsonl", 5)
    assert reject.fix.startswith(fix)
    assert reject.key == ("" if field == "event_id" else "e1")


def test_times_may_be_datetimes_and_numbers() -> None:
    event = _clean(_RAW | {"occurred_at": datetime(2024, 5, 31, 12), "received_at": 1_717_156_800_000})
    assert isinstance(event, Event)
    assert event.occurred_at == event.received_at == datetime(2024, 5, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"columns": {"idd": "x"}}, "columns.idd is not a field of an event; allowed: event_id"),
        ({"constants": {"user_id": "x"}}, "constants.user_id cannot be constant; allowed: request_id"),
        ({"constants": {"received_at": "now"}}, "constants.received_at is 'now'; allowed: occurred_at"),
        ({"kinds": {"pv": "look"}}, "kinds.pv is 'look'; allowed: impression"),
    ],
)
def test_an_invalid_mapping_is_refused_by_name(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(EventMapping, mapping)
