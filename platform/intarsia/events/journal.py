r"""The feedback journal: what shoppers did, appended so that an acknowledged event survives a crash.

A journal is a folder of segments, one per writer, so replicas never share a file. A segment is lines `crc32 json\n`; a crash can only tear
its end, and reading stops at the first torn line of a segment. Checking and de-duplicating what was read is `ingest_events`' matter.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from intarsia.errors import IntarsiaError
from intarsia.records.event import Event
from intarsia.tables.events import event_to_row, row_to_event

SEGMENT_SUFFIX = ".journal"
_CRC_CHARS = 8
_TIMES = ("occurred_at", "received_at")


class JournalError(IntarsiaError):
    """Events could not be made durable; none of the call's events count as taken."""


class Journal:
    """Appends to one segment; safe to call from many threads, which then share one fsync."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._waiting: list[_Append] = []
        self._waiting_lock = threading.Lock()
        self._disk_lock = threading.Lock()
        self._begin_segment()

    def append(self, events: Sequence[Event]) -> None:
        """Return when all of `events` are on disk.

        Threads that come while another one writes wait, and their events go to disk together with one fsync.

        Raises:
            JournalError: the disk refused; the segment is cut back to its last durable line.
        """
        mine = _Append(b"".join(_line(event) for event in events))
        with self._waiting_lock:
            self._waiting.append(mine)
        with self._disk_lock:
            if not mine.done:
                with self._waiting_lock:
                    group, self._waiting = self._waiting, []
                self._write(group)
        if mine.error is not None:
            raise JournalError(
                f"{len(events)} events were not written to {self.path}: {mine.error}; free the disk and send them again"
            ) from mine.error

    def close(self) -> None:
        """Close the segment; what was appended is already durable."""
        with self._disk_lock:
            self._close_segment()

    def _write(self, group: Sequence[_Append]) -> None:
        content = b"".join(append.content for append in group)
        error: OSError | None = None
        try:
            if self._file < 0:
                self._begin_segment()
            written = 0
            while written < len(content):
                written += os.write(self._file, content[written:])
            os.fsync(self._file)
            self._durable_bytes += len(content)
        except OSError as refused:
            error = refused
            self._cut_back()
        for append in group:
            append.done, append.error = True, error

    def _begin_segment(self) -> None:
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        self.path = self._folder / f"{started}-{uuid.uuid4().hex[:12]}{SEGMENT_SUFFIX}"
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        self._durable_bytes = 0
        _sync_folder(self._folder)

    def _cut_back(self) -> None:
        """Drop what a failed write left behind, and leave the segment: nothing may ever follow a torn line."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._durable_bytes)
        self._close_segment()

    def _close_segment(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file = -1


def read_events(folder: Path) -> Iterator[Event]:
    """Every durable event of every segment, segments in the order of their start; a torn end is left out."""
    for path in segments(folder):
        for row in read_segment(path):
            yield row_to_event(dict(row) | {name: datetime.fromisoformat(row[name]) for name in _TIMES})


def segments(folder: Path) -> list[Path]:
    """The segment files of a journal in the order they were begun; none when there is no journal yet."""
    return sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))


def read_segment(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of one segment up to its first torn line: whatever byte it was cut at, a prefix of what was appended."""
    with path.open("rb") as file:
        for line in file:
            row = _row(line)
            if row is None:
                return
            yield row


class _Append:
    """One caller's lines on their way to disk."""

    __slots__ = ("content", "done", "error")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.done = False
        self.error: OSError | None = None


def _line(event: Event) -> bytes:
    row = {name: value for name, value in event_to_row(event).items() if value is not None}
    row |= {name: row[name].isoformat() for name in _TIMES}
    content = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _row(line: bytes) -> dict[str, Any] | None:
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
