"""The feedback journal: an append-only log of events. An event that was acknowledged survives a crash.

File format: see `tables/segments.py`. Cleaning the events: see `pipelines/ingest_events.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from intarsia.errors import IntarsiaError
from intarsia.records.event import Event
from intarsia.tables.events import event_to_row, row_to_event
from intarsia.tables.segments import SegmentWriter, encode_line, read_log

_TIMES = ("occurred_at", "received_at")


class JournalError(IntarsiaError):
    """Events could not be written to disk; none of the events of the call were accepted."""


class Journal:
    """Appends to one segment. Thread-safe; concurrent calls share one fsync."""

    def __init__(self, folder: Path) -> None:
        self._segment = SegmentWriter(folder)
        self._waiting: list[_PendingAppend] = []
        self._waiting_lock = threading.Lock()
        self._disk_lock = threading.Lock()

    @property
    def path(self) -> Path:
        """The segment being written."""
        return self._segment.path

    def append(self, events: Sequence[Event]) -> None:
        """Write `events`; returns when all of them are on disk.

        Calls that arrive during a write wait for it, and are then written together with one fsync.

        Raises:
            JournalError: the write failed; the segment is truncated to its last durable line.
        """
        own = _PendingAppend(b"".join(_line(event) for event in events))
        with self._waiting_lock:
            self._waiting.append(own)
        with self._disk_lock:
            if not own.done:
                with self._waiting_lock:
                    group, self._waiting = self._waiting, []
                self._write(group)
        if own.error is not None:
            raise JournalError(
                f"{len(events)} events were not written to {self.path}: {own.error}. "
                "Fix: free disk space and send them again"
            ) from own.error

    def close(self) -> None:
        """Close the segment; everything appended is already on disk."""
        with self._disk_lock:
            self._segment.close()

    def _write(self, group: Sequence[_PendingAppend]) -> None:
        error: OSError | None = None
        try:
            self._segment.append(b"".join(append.content for append in group))
        except OSError as failure:
            error = failure
        for append in group:
            append.done, append.error = True, error


def read_events(folder: Path) -> Iterator[Event]:
    """Yield the events of all segments, in the order the segments were started; a damaged end is left out."""
    for row in read_log(folder):
        yield row_to_event(row | {name: datetime.fromisoformat(row[name]) for name in _TIMES})


class _PendingAppend:
    """Lines of one call that wait to be written."""

    __slots__ = ("content", "done", "error")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.done = False
        self.error: OSError | None = None


def _line(event: Event) -> bytes:
    row = {name: value for name, value in event_to_row(event).items() if value is not None}
    return encode_line(row | {name: row[name].isoformat() for name in _TIMES})
