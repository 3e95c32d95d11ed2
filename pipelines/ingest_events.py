"""Raw events -> events (validated, without repetitions, in the order received) and rejected_events."""

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
    """Location and format of the raw events."""

    folder: Path | None = setting("folder of the data; default: the generated market of the lake", None)
    events: str = setting("file of events, or folder of such files, in `folder`", "events.jsonl")
    file: FileShape = setting("format of the file", factory=FileShape)
    mapping: EventMapping = setting("the meaning of each column", factory=EventMapping)
    max_rejected_share: float = setting(
        "stop if a larger share of the rows is rejected; repeated events do not count", 0.05
    )
    split_rows: int = setting("rows per work item", 20_000, advanced=True)
    num_workers: int = setting("worker processes; 0: one per CPU", 0, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "max_rejected_share", low=0, high=1)
        check_range(self, "split_rows", low=1)
        check_range(self, "num_workers", low=0)


@dataclass(slots=True)
class EventWorker:
    """Cleans parts of event files; checks that their products are in the catalog."""

    mapping: EventMapping
    products: Entry
    _cleaner: EventCleaner = field(init=False)

    def __post_init__(self) -> None:
        ids = PRODUCTS.read(self.products, ["product_id"]).column("product_id").to_pylist()
        self._cleaner = EventCleaner(self.mapping, frozenset(ids))

    def __call__(self, split: FileSplit) -> EventBatch:
        """Read and clean the rows of a split."""
        return make_event_batch(
            split.number,
            [(split.file, row.number, self._clean_row(split.file, row.number, row.value)) for row in read_split(split)],
        )

    def _clean_row(self, file: str, row: int, value: object) -> Event | EventReject:
        if isinstance(value, UnreadableRow):
            return EventReject(
                file=file, row=row, key="", field="row", reason=value.reason.value, found=value.found, fix=value.fix
            )
        assert isinstance(value, dict)
        return self._cleaner.clean(file, row, value)


def run(config: IngestEventsConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Validate the events and publish both tables; only rejected_events if too many rows are rejected."""
    folder = config.folder or lake.current("market").path
    splits = plan_splits(folder / config.events, config.file, split_rows=config.split_rows)
    num_rows = sum(split.num_rows for split in splits)
    batches: list[EventBatch] = []
    worker = partial(EventWorker, config.mapping, lake.current("products"))
    for batch in RayWorkers(num_workers=config.num_workers)(worker, splits):
        batches.append(batch)
        progress("clean", sum(batch.num_rows for batch in batches), num_rows)
    events, rejected = deduplicate_events(batches)
    assert events.num_rows + rejected.num_rows == num_rows, "every input row is an event or rejected"
    reasons = Counter(rejected.column("reason").to_pylist())
    REJECTED_EVENTS.publish(lake, rejected)
    counted = {reason: num for reason, num in reasons.items() if reason != EventReason.DUPLICATE_EVENT}
    rejected_at = str(lake.current("rejected_events").path)
    check_dropped_share(num_rows, counted, config.max_rejected_share, table="events", rejected_at=rejected_at)
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
    """The files of events; other files of the folder are not read."""
    return [config.folder / config.events] if config.folder else []


JOB = Job(
    name="ingest_events",
    summary="raw events -> valid events without repetitions, as received; and every rejected row with its reason",
    config=IngestEventsConfig,
    reads=("products",),
    optional_reads=("market",),
    files=files,
    writes=("rejected_events", "events"),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
