"""Read raw CSV, JSONL and Parquet files, one file or a folder of them, as rows.

`plan_splits` cuts the files into splits of bounded size; `read_split` reads the rows of one. Both find the record ends
with the same functions, so their row counts agree. The splits depend on the files alone, never on the number of
workers.

What a column means: see `mapping.py` and `clean.py`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from intarsia.catalog.mapping import FileShape, Format
from intarsia.catalog.rejects import Reason, excerpt
from intarsia.errors import DataError

FORMAT_BY_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_BOM = b"\xef\xbb\xbf"
_BLOCK_BYTES = 1 << 20
_LINE_END = 10
_PARQUET_BATCH_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableRow:
    """Why a row cannot be read."""

    reason: Reason
    found: str
    fix: str


class RawRow(NamedTuple):
    """A row and its number in the file (from 1): its columns by name, or why it cannot be read."""

    number: int
    value: Mapping[str, Any] | UnreadableRow


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSplit:
    """A range of one raw file that a worker reads on its own.

    Attributes:
        number: position among all splits of the source, from 0.
        path: the file.
        file: its path relative to the source folder, for messages.
        shape: how the file is written.
        format: csv, jsonl or parquet.
        begin: first byte, at the start of a record; for Parquet the row group.
        end: byte after the last one, at the end of a record; for Parquet the next row group.
        first_row: number of the first data row in the file, from 1.
        num_rows: data rows in the split.
        header: column names of a CSV file.
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


def plan_splits(path: Path, shape: FileShape | None = None, *, split_rows: int = 256) -> list[FileSplit]:
    """Cut a file, or all files of a folder in the order of their paths, into splits.

    Args:
        path: a file or a folder.
        shape: how the files are written.
        split_rows: largest number of rows in a split of CSV or JSONL; a split of Parquet is one row group.

    Returns:
        The splits in order. Blank lines are not rows.

    Raises:
        DataError: there is nothing to read, a folder holds several formats, or a header or Parquet file is unreadable.
    """
    shape = shape or FileShape()
    root = path if path.is_dir() else path.parent
    splits: list[FileSplit] = []
    for file in _files(path, shape):
        format_ = shape.format or FORMAT_BY_SUFFIX[file.suffix.lower()]
        file_splits = (
            _plan_parquet(file, root, shape)
            if format_ == "parquet"
            else _plan_text(file, root, shape, format_, split_rows)
        )
        for split in file_splits:
            splits.append(replace(split, number=len(splits)))
    return splits


def read_split(split: FileSplit) -> Iterator[RawRow]:
    """Yield the `num_rows` rows of a split in order."""
    if split.format == "parquet":
        return _read_parquet(split)
    return _read_csv(split) if split.format == "csv" else _read_jsonl(split)


def read_raw_rows(path: Path, shape: FileShape | None = None) -> Iterator[RawRow]:
    """Yield all rows of a file or folder in order, in one process; for side files and judged sets."""
    for split in plan_splits(path, shape):
        yield from read_split(split)


def _files(path: Path, shape: FileShape) -> list[Path]:
    if path.is_file():
        if shape.format is None and path.suffix.lower() not in FORMAT_BY_SUFFIX:
            raise _unreadable(
                path, "ending", path.suffix, ", ".join(FORMAT_BY_SUFFIX), "rename the file or set file.format"
            )
        return [path]
    if not path.is_dir():
        raise _unreadable(path, "path", str(path), "a file or folder", "correct the path in the config")
    files = sorted(
        (
            p
            for p in path.rglob("*")
            if p.is_file() and p.suffix.lower() in FORMAT_BY_SUFFIX and not p.name.startswith((".", "_"))
        ),
        key=lambda p: p.relative_to(path).as_posix(),
    )
    formats = {FORMAT_BY_SUFFIX[p.suffix.lower()] for p in files}
    if shape.format is not None:
        files = [p for p in files if FORMAT_BY_SUFFIX[p.suffix.lower()] == shape.format]
    elif len(formats) > 1:
        raise _unreadable(
            path, "formats", ", ".join(sorted(formats)), "one format per folder", "set file.format in the mapping"
        )
    if not files:
        raise _unreadable(
            path, "files", "none", f"files ending in {', '.join(FORMAT_BY_SUFFIX)}", "give the folder with the files"
        )
    return files


def _unreadable(path: Path, field: str, found: str, allowed: str, fix: str) -> DataError:
    return DataError(table=str(path), field=field, found=excerpt(found), allowed=allowed, fix=fix)


def _plan_text(path: Path, root: Path, shape: FileShape, format_: Format, split_rows: int) -> Iterator[FileSplit]:
    """Splits of a CSV or JSONL file; their `number` is set by the caller."""
    size, begin = path.stat().st_size, 0
    with path.open("rb") as file:
        if file.read(len(_BOM)) == _BOM:
            begin = len(_BOM)
        header = shape.header
        if format_ == "csv" and not header:
            header, begin = _csv_header(path, shape, begin, size)
        records = (
            _csv_records(path, begin, size, shape.quote) if format_ == "csv" else _jsonl_records(path, begin, size)
        )
        first_row, row, start = 1, 0, begin
        for end, _ in records:
            row += 1
            if row - first_row + 1 == split_rows:
                yield _split(path, root, shape, format_, start, end, first_row, split_rows, header)
                first_row, start = row + 1, end
        if row >= first_row:
            yield _split(path, root, shape, format_, start, size, first_row, row - first_row + 1, header)


def _plan_parquet(path: Path, root: Path, shape: FileShape) -> Iterator[FileSplit]:
    first_row = 1
    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, "file", str(error), "a whole Parquet file", "write it again") from None
    for group in range(metadata.num_row_groups):
        num = metadata.row_group(group).num_rows
        if num:
            yield _split(path, root, shape, "parquet", group, group + 1, first_row, num, ())
        first_row += num


def _split(
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


def _read_parquet(split: FileSplit) -> Iterator[RawRow]:
    number = split.first_row
    with pq.ParquetFile(split.path) as file:
        batches = file.iter_batches(batch_size=_PARQUET_BATCH_ROWS, row_groups=[split.begin])
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(split.path, "data", str(error), "a whole Parquet file", "write it again") from None
            if batch is None:
                return
            for row in batch.to_pylist(maps_as_pydicts="lossy"):
                yield RawRow(number, row)
                number += 1


def _read_jsonl(split: FileSplit) -> Iterator[RawRow]:
    for number, (_, record) in enumerate(_jsonl_records(split.path, split.begin, split.end), split.first_row):
        yield RawRow(number, _json_object(record, split.shape.encoding))


def _jsonl_records(path: Path, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield (byte after the line, the line) of each line between bytes `begin` and `end` that is not blank."""
    with path.open("rb") as file:
        file.seek(begin)
        position = begin
        while position < end and (line := file.readline(end - position)):
            position += len(line)
            if line.strip():
                yield position, line


def _json_object(record: bytes, encoding: str) -> Mapping[str, Any] | UnreadableRow:
    """Parse one JSONL line as an object."""
    try:
        text = record.decode(encoding).strip()
    except UnicodeDecodeError:
        return _not_decodable(record, encoding)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return UnreadableRow(reason=Reason.BROKEN_JSON, found=excerpt(text), fix="write one whole JSON object per line")
    if not isinstance(value, dict):
        fix = "write one JSON object per line, with the columns as keys"
        return UnreadableRow(reason=Reason.WRONG_TYPE, found=excerpt(text), fix=fix)
    return value


def _read_csv(split: FileSplit) -> Iterator[RawRow]:
    delimiter, quote = _delimiter(split.path, split.shape), split.shape.quote
    for number, (_, record) in enumerate(_csv_records(split.path, split.begin, split.end, quote), split.first_row):
        fields = _csv_fields(record, split.shape.encoding, delimiter, quote)
        if isinstance(fields, UnreadableRow):
            yield RawRow(number, fields)
        elif len(fields) != len(split.header):
            found = f"{len(fields)} fields: {excerpt(record)}"
            fix = f"give each row the {len(split.header)} fields of the header; quote those that hold the delimiter"
            reason = Reason.WRONG_NUMBER_OF_FIELDS
            yield RawRow(number, UnreadableRow(reason=reason, found=excerpt(found), fix=fix))
        else:
            yield RawRow(number, dict(zip(split.header, fields, strict=True)))


def _csv_header(path: Path, shape: FileShape, begin: int, size: int) -> tuple[tuple[str, ...], int]:
    """(column names, byte after the header line)."""
    for end, record in _csv_records(path, begin, size, shape.quote):
        fields = _csv_fields(record, shape.encoding, _delimiter(path, shape), shape.quote)
        if isinstance(fields, UnreadableRow):
            raise _unreadable(path, "header", fields.found, f"text in {shape.encoding}", fields.fix)
        header = tuple(name.strip() for name in fields)
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise _unreadable(path, "header", f"{repeated[0]} twice", "each name once", "rename one of the columns")
        return header, end
    return (), begin


def _csv_records(path: Path, begin: int, end: int, quote: str = '"') -> Iterator[tuple[int, bytes]]:
    """Yield (byte after the record, the record) of each CSV record between bytes `begin` and `end` that is not blank.

    A line end closes a record when an even number of quotes precedes it. This also holds for doubled quotes (RFC 4180,
    section 2). After an unclosed quote everything up to `end` is one record.

    Args:
        path: the file.
        begin: first byte; must be the start of a record.
        end: byte after the last one.
        quote: quote character; "" for none.
    """
    code = ord(quote) if quote else -1
    with path.open("rb") as file:
        file.seek(begin)
        position, is_open, pieces = begin, False, list[bytes]()
        while position < end and (block := file.read(min(_BLOCK_BYTES, end - position))):
            cuts, is_open = _record_ends(block, code, is_open)
            last = 0
            for cut in cuts:
                record = b"".join([*pieces, block[last:cut]])
                pieces, last = [], cut
                if record.strip():
                    yield position + cut, record
            pieces.append(block[last:])
            position += len(block)
        rest = b"".join(pieces)
        if rest.strip():
            yield position, rest


def _record_ends(block: bytes, quote: int, is_open: bool) -> tuple[list[int], bool]:
    """(positions after each record end in the block, whether a quote is open at its end)."""
    codes = np.frombuffer(block, np.uint8)
    line_ends = np.flatnonzero(codes == _LINE_END)
    quotes = np.flatnonzero(codes == quote)
    if len(quotes):
        num_before = np.searchsorted(quotes, line_ends) + is_open
        line_ends = line_ends[num_before % 2 == 0]
        is_open = bool((len(quotes) + is_open) % 2)
    elif is_open:
        line_ends = line_ends[:0]
    return (line_ends + 1).tolist(), is_open


def _csv_fields(record: bytes, encoding: str, delimiter: str, quote: str) -> list[str] | UnreadableRow:
    """Parse the fields of one CSV record."""
    try:
        text = record.decode(encoding)
    except UnicodeDecodeError:
        return _not_decodable(record, encoding)
    if not quote:
        return text.rstrip("\r\n").split(delimiter)
    try:
        rows = list(csv.reader([text], delimiter=delimiter, quotechar=quote, strict=True))
    except csv.Error:
        fix = "close the quote, or double the quotes inside the field"
        return UnreadableRow(reason=Reason.UNCLOSED_QUOTE, found=excerpt(text), fix=fix)
    return rows[0] if rows else []


def _delimiter(path: Path, shape: FileShape) -> str:
    return shape.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")


def _not_decodable(record: bytes, encoding: str) -> UnreadableRow:
    fix = f"save the file in {encoding}, or set file.encoding"
    return UnreadableRow(reason=Reason.NOT_UTF8, found=excerpt(record), fix=fix)
