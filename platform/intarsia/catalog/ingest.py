"""The two passes of a catalog ingest: clean every split, resolve what needs the whole catalog, write the products.

The passes run on any `Workers`. Reading the configuration and publishing the tables: see `pipelines/ingest_catalog.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa

from intarsia.catalog.clean import CleanLimits, RowCleaner
from intarsia.catalog.mapping import CatalogMapping
from intarsia.catalog.resolve import PartWriter, Resolution, resolve_duplicates
from intarsia.catalog.sources import FileSplit, plan_splits
from intarsia.catalog.staging import SplitCleaner, read_staging_file, staging_files
from intarsia.errors import DataError
from intarsia.tables.products import REJECTED_PRODUCTS

_ItemT = TypeVar("_ItemT")
_OutputT = TypeVar("_OutputT")
IngestProgress = Callable[[str, int, int], None]
"""Called with (step, rows done, rows in all)."""

_REJECTS_PER_PART = 20_000


class Workers(Protocol):
    """Applies a function to many items. Two implementations: `serial_workers`, and `onray.workers.RayWorkers`."""

    def __call__(
        self, open_worker: Callable[[], Callable[[_ItemT], _OutputT]], items: Sequence[_ItemT]
    ) -> Iterator[_OutputT]:
        """Yield the results of all items, in any order; `open_worker` is called once per worker."""
        ...


def serial_workers(
    open_worker: Callable[[], Callable[[_ItemT], _OutputT]], items: Sequence[_ItemT]
) -> Iterator[_OutputT]:
    """`Workers` that process the items one after the other in this process."""
    return map(open_worker(), items)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanedCatalog:
    """Result of the first pass; resolution.num_products + dropped.total() == num_rows.

    Attributes:
        splits: the splits of the source.
        resolution: what was resolved over the whole catalog.
        num_rows: input rows.
        dropped: number of dropped rows by reason code.
        left_out: number of values left out of kept products, by reason code.
    """

    splits: tuple[FileSplit, ...]
    resolution: Resolution
    num_rows: int
    dropped: Counter[str]
    left_out: Counter[str]


def clean_catalog(
    source: Path,
    mapping: CatalogMapping,
    folder: Path,
    limits: CleanLimits,
    staging: Path,
    workers: Workers,
    progress: IngestProgress,
    *,
    split_rows: int = 256,
) -> CleanedCatalog:
    """Clean every row of `source` into `staging`, then resolve duplicates, spellings and placeholder images.

    Args:
        source: products file, or folder of them.
        mapping: the column mapping.
        folder: folder that image and side-file paths are relative to.
        limits: maximum text lengths.
        staging: an empty folder that every worker can reach.
        workers: runs the splits.
        progress: called with ("clean", rows done, rows in all).
        split_rows: rows per split of CSV and JSONL.

    Raises:
        DataError: there are no rows, or a file cannot be read.
    """
    splits = plan_splits(source, mapping.file, split_rows=split_rows)
    RowCleaner(mapping, folder, limits)  # an unreadable side file raises here, before any worker starts
    total, done = sum(split.num_rows for split in splits), 0
    if not total:
        raise DataError(table=str(source), field="rows", found=0, allowed="1 or more", fix="give a file with products")
    for counts in workers(partial(SplitCleaner, mapping, folder, limits, staging), splits):
        done += counts.num_rows
        progress("clean", done, total)
    resolution = resolve_duplicates(staging, splits, mapping.images)
    dropped: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for batch in _rejects(staging, splits, resolution):
        for reason, is_dropped in zip(batch["reason"].to_pylist(), batch["dropped"].to_pylist(), strict=True):
            (dropped if is_dropped else left_out)[reason] += 1
    assert resolution.num_products + dropped.total() == total, "every input row is a product or dropped"
    return CleanedCatalog(
        splits=tuple(splits), resolution=resolution, num_rows=total, dropped=dropped, left_out=left_out
    )


def write_rejects(cleaned: CleanedCatalog, staging: Path, folder: Path) -> int:
    """Write the parts of `rejected_products`, in the order of files and rows; returns the number of rows."""
    num = 0
    for number, table in enumerate(_parts_of(_rejects(staging, cleaned.splits, cleaned.resolution))):
        REJECTED_PRODUCTS.write_part(table, folder, number)
        num += table.num_rows
    return num


def write_products(
    cleaned: CleanedCatalog, staging: Path, folder: Path, workers: Workers, progress: IngestProgress
) -> int:
    """Write the parts of `products`, in the order of ids; returns the number of rows."""
    resolution = cleaned.resolution
    writer = partial(PartWriter, staging, folder, resolution.spellings, resolution.placeholders)
    num = 0
    for num_rows in workers(writer, resolution.parts):
        num += num_rows
        progress("write", num, resolution.num_products)
    assert num == resolution.num_products
    return num


def _rejects(staging: Path, splits: Sequence[FileSplit], resolution: Resolution) -> Iterator[pa.Table]:
    """Yield the rejects of both passes, one table per split, ordered by row; rejects of one row keep their order."""
    resolved: dict[int, list[dict[str, object]]] = {}
    for split_number, reject in resolution.rejects:
        resolved.setdefault(split_number, []).append(reject.to_row())
    for split in splits:
        table = read_staging_file(staging / staging_files(split.number)[2])
        if second_pass := resolved.get(split.number):
            rows = sorted([*table.to_pylist(), *second_pass], key=lambda row: int(str(row["row"])))
            table = REJECTED_PRODUCTS.from_rows(rows)
        yield table


def _parts_of(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Join small tables into parts; at least one, so that an empty table can be read."""
    pending: list[pa.Table] = []
    num, is_first = 0, True
    for table in tables:
        pending.append(table)
        num += table.num_rows
        if num >= _REJECTS_PER_PART:
            yield pa.concat_tables(pending)
            pending, num, is_first = [], 0, False
    if num or is_first:
        yield pa.concat_tables([REJECTED_PRODUCTS.schema.empty_table(), *pending])
