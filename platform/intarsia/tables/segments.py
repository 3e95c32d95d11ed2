r"""A log as a folder of append-only segments, one per writer, so that processes never share a file.

A segment consists of lines `crc32 json\n`. A crash can only damage its end; reading stops at the first damaged line.
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

SEGMENT_SUFFIX = ".journal"
_CRC_CHARS = 8


class SegmentWriter:
    """Appends to one segment, and starts another after a failure. Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = -1
        self._start()

    def append(self, lines: bytes) -> None:
        """Write whole lines (outputs of `encode_line`); returns when they are on disk.

        Raises:
            OSError: the write failed; the segment is truncated to its last durable line.
        """
        try:
            if self._file < 0:
                self._start()
            written = 0
            while written < len(lines):
                written += os.write(self._file, lines[written:])
            os.fsync(self._file)
        except OSError:
            self._truncate()
            raise
        self._durable_bytes += len(lines)

    def close(self) -> None:
        """Close the segment; everything appended is already on disk."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file = -1

    def _start(self) -> None:
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        self.path = self._folder / f"{started}-{uuid.uuid4().hex[:12]}{SEGMENT_SUFFIX}"
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        self._durable_bytes = 0
        _sync_folder(self._folder)

    def _truncate(self) -> None:
        """Remove the output of a failed write and close the segment: no line may follow a damaged one."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._durable_bytes)
        self.close()


def encode_line(row: Mapping[str, Any]) -> bytes:
    """Encode a JSON-able row as one line."""
    content = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def read_log(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of all segments, in the order the segments were started; none when the folder does not exist."""
    for path in segment_paths(folder):
        yield from read_segment(path)


def segment_paths(folder: Path) -> list[Path]:
    """The segment files of a log, in the order they were started."""
    return sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))


def read_segment(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of one segment up to its first damaged line; always a prefix of what was appended."""
    with path.open("rb") as file:
        for line in file:
            row = _decode_line(line)
            if row is None:
                return
            yield row


def _decode_line(line: bytes) -> dict[str, Any] | None:
    crc, content = line[:_CRC_CHARS], line[_CRC_CHARS + 1 : -1]
    if not line.endswith(b"\n") or crc != b"%08x" % zlib.crc32(content):
        return None
    row: dict[str, Any] = json.loads(content)
    return row


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)  # otherwise a crash may lose the new file
    finally:
        os.close(handle)
