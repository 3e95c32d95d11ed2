"""The tables `events` and `rejected_events`, and conversion between `Event` and row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from intarsia.records.event import Event
from intarsia.tables.schema import TIME, TableSpec

EVENTS = TableSpec(
    name="events",
    version=1,
    schema=pa.schema(
        [
            ("event_id", pa.string()),
            ("request_id", pa.string()),
            ("release_id", pa.string()),
            ("kind", pa.string()),
            ("product_id", pa.string()),
            ("position", pa.int32()),
            ("value", pa.float64()),
            ("dwell_ms", pa.int64()),
            ("user_id", pa.string()),
            ("session_id", pa.string()),
            ("occurred_at", TIME),
            ("received_at", TIME),
        ]
    ),
)

REJECTED_EVENTS = TableSpec(
    name="rejected_events",
    version=1,
    schema=pa.schema(
        [
            ("file", pa.string()),
            ("row", pa.int64()),
            ("key", pa.string()),
            ("field", pa.string()),
            ("reason", pa.string()),
            ("found", pa.string()),
            ("fix", pa.string()),
        ]
    ),
)


def event_to_row(event: Event) -> dict[str, Any]:
    """Convert an event to a row of `events`."""
    return dataclasses.asdict(event)


def row_to_event(row: Mapping[str, Any]) -> Event:
    """Convert a row of `events` to an event."""
    return Event(**row)
