"""Raw files as units of bounded size, and a unit as rows: any CSV, JSONL or Parquet, one file or a folder of them.

A unit is a stretch of one file that a worker reads on its own; units depend on the files alone, never on the number of workers. What the
columns mean is `mapping`'s and `clean`'s matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from intarsia.catalog.mapping import FileShape, Format
from intarsia.catalog.raw_rows import Defect, RawRow, csv_fields, json_object
from intarsia.catalog.record_splitter import csv_records, jsonl_records
from intarsia.catalog.validate import Reason, shown
from intarsia.errors import DataError

SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_BOM = b"\xef\xbb\xbf"
_PARQUET_BATCH_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSplit:
    """A stretch of one raw file: bytes `begin`..`end` on record ends, or for Parquet row group `begin` (`end` is the next one).

    `first_row` counts data rows from 1; `header` names the columns of a CSV.
    """

    number: int
    path: Path
    file: str
    shape: FileShape
    format: Format
    begin: int
    end: int
    first_row: int
    num_rows: int
    header: tuple[str, ...] = ()


def plan_units(path: Path, shape: FileShape | None = None, *, unit_rows: int = 256) -> list[FileSplit]:
    """Cut a file, or every file of a folder in the order of their paths, into units of at most `unit_rows` rows (Parquet: row groups).

    Blank lines are no rows.

    Raises:
        DataError: nothing to read there, several formats in one folder, or a header or Parquet file that is not readable.
    """
    shape = shape or FileShape()
    root = path if path.is_dir() else path.parent
    units: list[FileSplit] = []
    for file in _files(path, shape):
        format_ = shape.format or SUFFIXES[file.suffix.lower()]
        cut = (
            _cut_parquet(file, root, shape)
            if format_ == "parquet"
            else _cut_bytes(file, root, shape, format_, unit_rows)
        )
        for unit in cut:
            units.append(replace(unit, number=len(units)))
    return units


def read_unit(unit: FileSplit) -> Iterator[RawRow]:
    """The rows of a unit, in order, each with its number; exactly `unit.num_rows` of them."""
    if unit.format == "parquet":
        return _read_parquet(unit)
    return _read_csv(unit) if unit.format == "csv" else _read_jsonl(unit)


def read_rows(path: Path, shape: FileShape | None = None) -> Iterator[RawRow]:
    """All rows of a file or folder, in order: for side files and judged sets that fit one process."""
    for unit in plan_units(path, shape):
        yield from read_unit(unit)


def _files(path: Path, shape: FileShape) -> list[Path]:
    if path.is_file():
        if shape.format is None and path.suffix.lower() not in SUFFIXES:
            raise _unreadable(path, "ending", path.suffix, ", ".join(SUFFIXES), "rename the file or set file.format")
        return [path]
    if not path.is_dir():
        raise _unreadable(path, "path", str(path), "a file or folder", "correct the path in the config")
    found = sorted(
        (
            p
            for p in path.rglob("*")
            if p.is_file() and p.suffix.lower() in SUFFIXES and not p.name.startswith((".", "_"))
        ),
        key=lambda p: p.relative_to(path).as_posix(),
    )
    formats = {SUFFIXES[p.suffix.lower()] for p in found}
    if shape.format is not None:
        found = [p for p in found if SUFFIXES[p.suffix.lower()] == shape.format]
    elif len(formats) > 1:
        raise _unreadable(
            path, "formats", ", ".join(sorted(formats)), "one format per folder", "set file.format in the mapping"
        )
    if not found:
        raise _unreadable(
            path, "files", "none", f"files ending in {', '.join(SUFFIXES)}", "give the folder with the files"
        )
    return found


def _cut_bytes(path: Path, root: Path, shape: FileShape, format_: Format, unit_rows: int) -> Iterator[FileSplit]:
    """Units without their final number."""
    size, begin = path.stat().st_size, 0
    with path.open("rb") as file:
        if file.read(len(_BOM)) == _BOM:
            begin = len(_BOM)
        header = shape.header
        if format_ == "csv" and not header:
            header, begin = _csv_header(path, shape, begin, size)
        records = _records(path, shape, format_, begin, size)
        first_row, row, start = 1, 0, begin
        for end, _ in records:
            row += 1
            if row - first_row + 1 == unit_rows:
                yield _unit(path, root, shape, format_, start, end, first_row, unit_rows, header)
                first_row, start = row + 1, end
        if row >= first_row:
            yield _unit(path, root, shape, format_, start, size, first_row, row - first_row + 1, header)


def _unit(
    path: Path,
    root: Path,
    shape: FileShape,
    format_: Format,
    begin: int,
    end: int,
    first_row: int,
    num: int,
    header: tuple[str, ...],
) -> FileSplit:
    return FileSplit(
        number=-1,
        path=path,
        file=path.relative_to(root).as_posix(),
        shape=shape,
        format=format_,
        begin=begin,
        end=end,
        first_row=first_row,
        num_rows=num,
        header=header,
    )


def _records(path: Path, shape: FileShape, format_: Format, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    return csv_records(path, begin, end, shape.quote) if format_ == "csv" else jsonl_records(path, begin, end)


def _csv_header(path: Path, shape: FileShape, begin: int, size: int) -> tuple[tuple[str, ...], int]:
    for end, record in csv_records(path, begin, size, shape.quote):
        fields = csv_fields(record, shape.encoding, _delimiter(path, shape), shape.quote)
        if isinstance(fields, Defect):
            raise _unreadable(path, "header", fields.found, f"text in {shape.encoding}", fields.fix)
        header = tuple(name.strip() for name in fields)
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise _unreadable(path, "header", f"{repeated[0]} twice", "each name once", "rename one of the columns")
        return header, end
    return (), begin


def _read_jsonl(unit: FileSplit) -> Iterator[RawRow]:
    for number, (_, record) in enumerate(jsonl_records(unit.path, unit.begin, unit.end), unit.first_row):
        yield RawRow(number, json_object(record, unit.shape.encoding))


def _read_csv(unit: FileSplit) -> Iterator[RawRow]:
    delimiter = _delimiter(unit.path, unit.shape)
    for number, (_, record) in enumerate(
        csv_records(unit.path, unit.begin, unit.end, unit.shape.quote), unit.first_row
    ):
        fields = csv_fields(record, unit.shape.encoding, delimiter, unit.shape.quote)
        if isinstance(fields, Defect):
            yield RawRow(number, fields)
        elif len(fields) != len(unit.header):
            found = f"{len(fields)} fields: {shown(record)}"
            fix = f"give each row the {len(unit.header)} fields of the header; quote those that hold the delimiter"
            yield RawRow(number, Defect(reason=Reason.WRONG_NUMBER_OF_FIELDS, found=shown(found), fix=fix))
        else:
            yield RawRow(number, dict(zip(unit.header, fields, strict=True)))


def _delimiter(path: Path, shape: FileShape) -> str:
    return shape.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")


def _cut_parquet(path: Path, root: Path, shape: FileShape) -> Iterator[FileSplit]:
    first_row = 1
    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, "file", str(error), "a whole Parquet file", "write it again") from None
    for group in range(metadata.num_row_groups):
        num = metadata.row_group(group).num_rows
        if num:
            yield _unit(path, root, shape, "parquet", group, group + 1, first_row, num, ())
        first_row += num


def _read_parquet(unit: FileSplit) -> Iterator[RawRow]:
    number = unit.first_row
    with pq.ParquetFile(unit.path) as file:
        for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS, row_groups=[unit.begin]):
            for row in batch.to_pylist(maps_as_pydicts="lossy"):
                yield RawRow(number, row)
                number += 1


def _unreadable(path: Path, field: str, found: str, allowed: str, fix: str) -> DataError:
    return DataError(table=str(path), field=field, found=shown(found), allowed=allowed, fix=fix)
