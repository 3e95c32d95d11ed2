"""Merge the cleaned events of all splits: each event id once, sorted by the time received.

All events are held in memory, about 200 bytes each.
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

_EVENTS_WITH_ORIGIN = pa.schema([*EVENTS.schema, ("file", pa.string()), ("row", pa.int64())])


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBatch:
    """Cleaned rows of one split.

    Attributes:
        number: number of the split.
        num_rows: events and rejects together.
        events: the columns of the table `events`, and `file` and `row` of each event.
        rejected: rows of `rejected_events`.
    """

    number: int
    num_rows: int
    events: pa.Table
    rejected: pa.Table


def make_event_batch(number: int, rows: Sequence[tuple[str, int, Event | EventReject]]) -> EventBatch:
    """Build a batch from (file, row, outcome) of every row of split `number`."""
    events: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    for file, row, outcome in rows:
        if isinstance(outcome, Event):
            events.append({**event_to_row(outcome), "file": file, "row": row})
        else:
            rejected.append(dataclasses.asdict(outcome))
    return EventBatch(
        number=number,
        num_rows=len(rows),
        events=pa.Table.from_pylist(events, schema=_EVENTS_WITH_ORIGIN),
        rejected=REJECTED_EVENTS.from_rows(rejected),
    )


def deduplicate_events(batches: Iterable[EventBatch]) -> tuple[pa.Table, pa.Table]:
    """Merge batches; of a repeated event id the event that was received first is kept.

    Args:
        batches: in any order; the result does not depend on it.

    Returns:
        `events` sorted by received_at and event_id, and `rejected_events` sorted by file and row.
    """
    ordered = sorted(batches, key=lambda batch: batch.number)
    events = pa.concat_tables([_EVENTS_WITH_ORIGIN.empty_table(), *(batch.events for batch in ordered)])
    position = pa.array(range(events.num_rows), pa.int64())
    events = events.append_column("position_in_files", position).sort_by(
        [("received_at", "ascending"), ("event_id", "ascending"), ("position_in_files", "ascending")]
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
            *(batch.rejected for batch in ordered),
            _duplicates(events.filter(pc.invert(mask))),
        ]
    )
    kept = events.filter(mask).select(EVENTS.schema.names)
    return kept, rejected.sort_by([("file", "ascending"), ("row", "ascending")])


def _duplicates(events: pa.Table) -> pa.Table:
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
