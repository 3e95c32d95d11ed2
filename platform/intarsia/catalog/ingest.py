"""The two passes of an ingest over any way of running workers: clean every unit, settle what needs the whole catalog, write the products.

Where the files are published is the job's matter.
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
from intarsia.catalog.sources import FileSplit, plan_units
from intarsia.catalog.staging import UnitWorker, read_sheet, unit_files
from intarsia.errors import DataError
from intarsia.tables.products import REJECTED_PRODUCTS

PieceT = TypeVar("PieceT")
ResultT = TypeVar("ResultT")
Progress = Callable[[str, int, int], None]

_REJECTS_PER_PART = 20_000


class Workers(Protocol):
    """Runs one function over many pieces: opens it once per worker, gives the results in any order."""

    def __call__(
        self, open_worker: Callable[[], Callable[[PieceT], ResultT]], pieces: Sequence[PieceT]
    ) -> Iterator[ResultT]:
        """The results of all pieces."""
        ...


def in_this_process(
    open_worker: Callable[[], Callable[[PieceT], ResultT]], pieces: Sequence[PieceT]
) -> Iterator[ResultT]:
    """The plainest `Workers`: one after the other, here."""
    return map(open_worker(), pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanedCatalog:
    """The first pass and what was settled after it; num_products + sum(lost) == num_rows."""

    units: tuple[FileSplit, ...]
    settlement: Resolution
    num_rows: int
    lost: Counter[str]
    left_out: Counter[str]


def clean_catalog(
    source: Path,
    mapping: CatalogMapping,
    folder: Path,
    limits: CleanLimits,
    scratch: Path,
    workers: Workers,
    progress: Progress,
    *,
    unit_rows: int = 256,
) -> CleanedCatalog:
    """Clean every row of `source` into `scratch` and settle the whole.

    Args:
        source: products file, or folder of them.
        mapping: which column is what.
        folder: what pictures and side files are relative to.
        limits: longest texts.
        scratch: an empty folder that every worker sees.
        workers: how the units are run.
        progress: told (step, rows done, rows in all).
        unit_rows: rows per unit of CSV and JSONL.

    Raises:
        DataError: there are no rows, or a file cannot be read.
    """
    units = plan_units(source, mapping.file, unit_rows=unit_rows)
    RowCleaner(mapping, folder, limits)  # a side file that cannot be read is told here, before any worker starts
    total, done = sum(unit.num_rows for unit in units), 0
    if not total:
        raise DataError(table=str(source), field="rows", found=0, allowed="1 or more", fix="give a file with products")
    for report in workers(partial(UnitWorker, mapping, folder, limits, scratch), units):
        done += report.num_rows
        progress("clean", done, total)
    settlement = resolve_duplicates(scratch, units, mapping.images)
    lost: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for batch in _rejects(scratch, units, settlement):
        for reason, is_lost in zip(batch["reason"].to_pylist(), batch["lost"].to_pylist(), strict=True):
            (lost if is_lost else left_out)[reason] += 1
    assert settlement.num_products + lost.total() == total, "every input row is a product or lost"
    return CleanedCatalog(units=tuple(units), settlement=settlement, num_rows=total, lost=lost, left_out=left_out)


def write_rejects(cleaned: CleanedCatalog, scratch: Path, folder: Path) -> int:
    """Write the parts of `rejected_products`, in the order of files and rows; returns the number of rows."""
    num = 0
    for number, table in enumerate(_parts_of(_rejects(scratch, cleaned.units, cleaned.settlement))):
        REJECTED_PRODUCTS.write_part(table, folder, number)
        num += table.num_rows
    return num


def write_products(cleaned: CleanedCatalog, scratch: Path, folder: Path, workers: Workers, progress: Progress) -> int:
    """Write the parts of `products`, in the order of ids; returns the number of rows."""
    settlement = cleaned.settlement
    writer = partial(PartWriter, scratch, folder, settlement.spellings, settlement.placeholders)
    num = 0
    for num_rows in workers(writer, settlement.parts):
        num += num_rows
        progress("write", num, settlement.num_products)
    assert num == settlement.num_products
    return num


def _rejects(scratch: Path, units: Sequence[FileSplit], settlement: Resolution) -> Iterator[pa.Table]:
    """The rejects of both passes, unit by unit, by row; of one row in the order in which they were found."""
    of_settling: dict[int, list[dict[str, object]]] = {}
    for unit, reject in settlement.rejects:
        of_settling.setdefault(unit, []).append(reject.to_row())
    for unit_ in units:
        table = read_sheet(scratch / unit_files(unit_.number)[2])
        if more := of_settling.get(unit_.number):
            rows = sorted([*table.to_pylist(), *more], key=lambda row: int(str(row["row"])))
            table = REJECTED_PRODUCTS.from_rows(rows)
        yield table


def _parts_of(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Small tables joined into parts; at least one, so that an empty table can be read."""
    held: list[pa.Table] = []
    num, is_first = 0, True
    for table in tables:
        held.append(table)
        num += table.num_rows
        if num >= _REJECTS_PER_PART:
            yield pa.concat_tables(held)
            held, num, is_first = [], 0, False
    if num or is_first:
        yield pa.concat_tables([REJECTED_PRODUCTS.schema.empty_table(), *held])
