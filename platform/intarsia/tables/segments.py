r"""A log as a folder of append-only segments, one per writer, so that processes never share a file.

A segment is lines `crc32 json\n`; a crash can only tear its end, and reading stops at the first torn line of a segment. What a row means is
the business of whoever keeps the log; when to append, and who waits for it, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SUFFIX = ".journal"
_CRC_CHARS = 8


class SegmentWriter:
    """Appends to one segment, and begins another after a failure; for one thread at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = -1
        self._begin()

    def append(self, lines: bytes) -> None:
        """Return when whole lines, those of `line_of`, are on disk.

        Raises:
            OSError: the disk refused; the segment is cut back to its last durable line.
        """
        try:
            if self._file < 0:
                self._begin()
            written = 0
            while written < len(lines):
                written += os.write(self._file, lines[written:])
            os.fsync(self._file)
        except OSError:
            self._cut_back()
            raise
        self._durable_bytes += len(lines)

    def close(self) -> None:
        """Close the segment; what was appended is already durable."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file = -1

    def _begin(self) -> None:
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        self.path = self._folder / f"{started}-{uuid.uuid4().hex[:12]}{SUFFIX}"
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        self._durable_bytes = 0
        _sync_folder(self._folder)

    def _cut_back(self) -> None:
        """Drop what a failed write left behind, and leave the segment: nothing may ever follow a torn line."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._durable_bytes)
        self.close()


def line_of(row: Mapping[str, Any]) -> bytes:
    """One JSON-able row as a line."""
    content = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def read_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Every durable row of every segment, segments in the order of their start; none when there is no log yet."""
    for path in segments(folder):
        yield from read_segment(path)


def segments(folder: Path) -> list[Path]:
    """The segment files of a log in the order they were begun."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def read_segment(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of one segment up to its first torn line: whatever byte it was cut at, a prefix of what was appended."""
    with path.open("rb") as file:
        for line in file:
            row = _row_of(line)
            if row is None:
                return
            yield row


def _row_of(line: bytes) -> dict[str, Any] | None:
    crc, content = line[:_CRC_CHARS], line[_CRC_CHARS + 1 : -1]
    if not line.endswith(b"\n") or crc != b"%08x" % zlib.crc32(content):
        return None
    row: dict[str, Any] = json.loads(content)
    return row


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)  # else a crash may forget that the segment exists
    finally:
        os.close(handle)
