"""events -> product_stats: each product's event counts as of a moment, which the popularity features read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from intarsia.config import setting
from intarsia.features.stats import COUNTED_KINDS, StatsLedger
from intarsia.lake import Lake
from intarsia.records.event import Event
from intarsia.tables.events import EVENTS, row_to_event
from pipelines.job import Counts, Job, JobProgress, main

_EVENTS_PER_FOLD = 50_000  # the cost of a fold grows with the length of the ledger, so many events are folded at once


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildProductStatsConfig:
    """The moment up to which events count."""

    as_of: str | None = setting("ignore events received later; ISO 8601 with time zone; default: use all events", None)

    def __post_init__(self) -> None:
        if self.as_of is not None and datetime.fromisoformat(self.as_of).tzinfo is None:
            raise ValueError(
                f"as_of is {self.as_of!r}, without a time zone; write for example 2026-03-01T12:00:00+00:00"
            )


def run(config: BuildProductStatsConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Fold the events into a ledger, and write it with the counts per product; without events both are empty."""
    ledger = StatsLedger.empty()
    for events in _event_batches(lake, progress):
        ledger = ledger.fold_all(events)
    stats = ledger.as_of(None if config.as_of is None else datetime.fromisoformat(config.as_of))
    with lake.publish("product_stats", {"as_of": None if stats.as_of is None else stats.as_of.isoformat()}) as folder:
        stats.save(folder)
        ledger.save(folder)
    totals = dict(zip(COUNTED_KINDS, stats.counts_PK.sum(axis=0).tolist(), strict=True))
    return {"products": len(stats.product_ids), **totals}


def _event_batches(lake: Lake, progress: JobProgress) -> Iterator[list[Event]]:
    if not lake.has("events"):
        return
    entry = lake.current("events")
    total = entry.notes.get("num_events", 0)
    done = 0
    for batch in EVENTS.batches(entry, num_rows=_EVENTS_PER_FOLD):
        done += batch.num_rows
        yield [row_to_event(row) for row in batch.to_pylist()]
        progress("events", done, max(total, done))


JOB = Job(
    name="build_product_stats",
    summary="events -> how often each product was viewed, clicked, bought and so on, as of a moment",
    config=BuildProductStatsConfig,
    optional_reads=("events",),
    writes=("product_stats",),
    needs_ray=False,
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
