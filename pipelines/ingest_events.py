"""raw events -> `events` and `rejected_events`: checked, each event_id once, in the order in which they were received."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from intarsia.catalog.mapping import FileShape
from intarsia.catalog.rejects import check_dropped_share
from intarsia.catalog.sources import FileSplit, UnreadableRow, plan_splits, read_split
from intarsia.config import check_range, setting
from intarsia.events.clean import EventCleaner, EventMapping, EventReason, EventReject
from intarsia.events.dedupe import EventBatch, deduplicate_events, make_event_batch
from intarsia.lake import Entry, Lake
from intarsia.onray.workers import RayWorkers
from intarsia.records.event import Event
from intarsia.tables.events import EVENTS, REJECTED_EVENTS
from intarsia.tables.products import PRODUCTS
from pipelines.job import Counts, Job, JobProgress, main


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestEventsConfig:
    """Where the raw events lie and what they mean."""

    folder: Path | None = setting("the data's folder; nothing: the generated market of the lake", None)
    events: str = setting("events file, or folder of them, in `folder`", "events.jsonl")
    file: FileShape = setting("how the file is written", factory=FileShape)
    mapping: EventMapping = setting("which column is what", factory=EventMapping)
    max_rejected_share: float = setting(
        "share of refused rows, repeated events not counted, above which the job stops", 0.05
    )
    split_rows: int = setting("rows that a worker takes at a time", 20_000)
    num_workers: int = setting("worker processes; 0: one per CPU", 0)

    def __post_init__(self) -> None:
        check_range(self, "max_rejected_share", low=0, high=1)
        check_range(self, "split_rows", low=1)
        check_range(self, "num_workers", low=0)


@dataclass(slots=True)
class EventWorker:
    """Cleans stretches of event files against one catalog."""

    mapping: EventMapping
    products: Entry
    _cleaner: EventCleaner = field(init=False)

    def __post_init__(self) -> None:
        ids = PRODUCTS.read(self.products, ["product_id"]).column("product_id").to_pylist()
        self._cleaner = EventCleaner(self.mapping, frozenset(ids))

    def __call__(self, unit: FileSplit) -> EventBatch:
        """Read and clean one unit."""
        return make_event_batch(
            unit.number,
            [(unit.file, row.number, self._outcome(unit.file, row.number, row.value)) for row in read_split(unit)],
        )

    def _outcome(self, file: str, row: int, value: object) -> Event | EventReject:
        if isinstance(value, UnreadableRow):
            return EventReject(
                file=file, row=row, key="", field="row", reason=value.reason.value, found=value.found, fix=value.fix
            )
        assert isinstance(value, dict)
        return self._cleaner.clean(file, row, value)


def run(config: IngestEventsConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Raw events -> events, rejected_events; too many refused rows stop the job after the rejects are published."""
    folder = config.folder or lake.current("market").path
    units = plan_splits(folder / config.events, config.file, split_rows=config.split_rows)
    num_rows = sum(unit.num_rows for unit in units)
    pieces: list[EventBatch] = []
    worker = partial(EventWorker, config.mapping, lake.current("products"))
    for piece in RayWorkers(num_workers=config.num_workers)(worker, units):
        pieces.append(piece)
        progress("clean", sum(piece.num_rows for piece in pieces), num_rows)
    events, rejected = deduplicate_events(pieces)
    assert events.num_rows + rejected.num_rows == num_rows, "every input row is an event or rejected"
    reasons = Counter(rejected.column("reason").to_pylist())
    REJECTED_EVENTS.publish(lake, rejected)
    refused = {reason: num for reason, num in reasons.items() if reason != EventReason.DUPLICATE_EVENT}
    rejected_at = str(lake.current("rejected_events").path)
    check_dropped_share(num_rows, refused, config.max_rejected_share, table="events", rejected_at=rejected_at)
    EVENTS.publish(lake, events)
    kinds = Counter(events.column("kind").to_pylist())
    return {
        "rows": num_rows,
        "events": events.num_rows,
        "rejected": rejected.num_rows,
        "by kind": dict(sorted(kinds.items())),
        "rejected by reason": dict(sorted(reasons.items())),
    }


def files(config: IngestEventsConfig) -> Sequence[Path]:
    """The events alone: other files of the folder are not read."""
    return [config.folder / config.events] if config.folder else []


JOB = Job(
    name="ingest_events",
    summary="raw events -> checked events, each once, in the order received; and every refused row with its reason",
    config=IngestEventsConfig,
    reads=("products",),
    optional_reads=("market",),
    files=files,
    writes=("rejected_events", "events"),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
