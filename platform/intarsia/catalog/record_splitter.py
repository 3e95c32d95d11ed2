"""Where the records of a byte stretch end: lines of JSONL, and CSV records whose quoted fields may hold line ends.

What is in a record is `sources`' matter. The planner and the readers both cut with these functions, so their counts agree by construction.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

_BLOCK_BYTES = 1 << 20
_LINE_END = 10


def jsonl_records(path: Path, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(where it ends, its bytes) of every line that is not blank, from byte `begin` to `end`."""
    with path.open("rb") as file:
        file.seek(begin)
        at = begin
        while at < end and (line := file.readline(end - at)):
            at += len(line)
            if line.strip():
                yield at, line


def csv_records(path: Path, begin: int, end: int, quote: str = '"') -> Iterator[tuple[int, bytes]]:
    """(where it ends, its bytes) of every CSV record that is not blank, from byte `begin`, a record's start, to `end`.

    A line end ends a record when an even number of quotes stands before it: this holds for doubled quotes too (RFC 4180, section 2).
    The last record may be cut short by an unclosed quote; it is then all that is left.
    """
    code = ord(quote) if quote else -1
    with path.open("rb") as file:
        file.seek(begin)
        at, is_open, pieces = begin, False, list[bytes]()
        while at < end and (block := file.read(min(_BLOCK_BYTES, end - at))):
            cuts, is_open = _record_ends(block, code, is_open)
            last = 0
            for cut in cuts:
                record = b"".join([*pieces, block[last:cut]])
                pieces, last = [], cut
                if record.strip():
                    yield at + cut, record
            pieces.append(block[last:])
            at += len(block)
        rest = b"".join(pieces)
        if rest.strip():
            yield at, rest


def _record_ends(block: bytes, quote: int, is_open: bool) -> tuple[list[int], bool]:
    """Positions after each record end in the block, and whether a quote is open behind it."""
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
