"""All events of an ingest, once each and in the order in which they were received: what the pieces of the files cannot know alone.

The simple form: events are Arrow columns in one process, some two hundred bytes each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from intarsia.events.clean import EventReason, EventReject
from intarsia.records.event import Event
from intarsia.tables.events import EVENTS, REJECTED_EVENTS, event_to_row

_PLACED = pa.schema([*EVENTS.schema, ("file", pa.string()), ("row", pa.int64())])


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPiece:
    """The events and rejects of one stretch of a file; `events` has the columns of the table, and `file` and `row`."""

    number: int
    num_rows: int
    events: pa.Table
    rejected: pa.Table


def event_piece(number: int, placed: Sequence[tuple[str, int, Event | EventReject]]) -> EventPiece:
    """A piece of cleaned rows, each with its file and row."""
    events: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    for file, row, outcome in placed:
        if isinstance(outcome, Event):
            events.append({**event_to_row(outcome), "file": file, "row": row})
        else:
            rejected.append(dataclasses.asdict(outcome))
    return EventPiece(
        number=number,
        num_rows=len(placed),
        events=pa.Table.from_pylist(events, schema=_PLACED),
        rejected=REJECTED_EVENTS.from_rows(rejected),
    )


def settle_events(pieces: Iterable[EventPiece]) -> tuple[pa.Table, pa.Table]:
    """(`events` sorted by received_at and event_id, `rejected_events` by file and row); a repeated event_id counts once, as first received.

    The result depends on the rows alone, not on the order of the pieces.
    """
    ordered = sorted(pieces, key=lambda piece: piece.number)
    events = pa.concat_tables([_PLACED.empty_table(), *(piece.events for piece in ordered)])
    place = pa.array(range(events.num_rows), pa.int64())
    events = events.append_column("place", place).sort_by(
        [("received_at", "ascending"), ("event_id", "ascending"), ("place", "ascending")]
    )
    seen: set[str] = set()
    is_first: list[bool] = []
    for event_id in events.column("event_id").to_pylist():
        is_first.append(event_id not in seen)
        seen.add(event_id)
    mask = pa.array(is_first, pa.bool_())
    rejected = pa.concat_tables(
        [
            REJECTED_EVENTS.schema.empty_table(),
            *(piece.rejected for piece in ordered),
            _repeated(events.filter(pc.invert(mask))),
        ]
    )
    kept = events.filter(mask).select(EVENTS.schema.names)
    return kept, rejected.sort_by([("file", "ascending"), ("row", "ascending")])


def _repeated(events: pa.Table) -> pa.Table:
    rows = [
        {
            "file": row["file"],
            "row": row["row"],
            "key": row["event_id"],
            "field": "event_id",
            "reason": EventReason.DUPLICATE_EVENT.value,
            "found": row["event_id"],
            "fix": "nothing to do: it was sent twice and counts once",
        }
        for row in events.select(["file", "row", "event_id"]).to_pylist()
    ]
    return REJECTED_EVENTS.from_rows(rows)
