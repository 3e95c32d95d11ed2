"""The feedback journal: what shoppers did, appended so that an acknowledged event survives a crash.

How it lies on disk is `tables/segments`' matter; checking and de-duplicating what was read is `ingest_events`'.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from intarsia.errors import IntarsiaError
from intarsia.records.event import Event
from intarsia.tables.events import event_to_row, row_to_event
from intarsia.tables.segments import SegmentWriter, line_of, read_rows

_TIMES = ("occurred_at", "received_at")


class JournalError(IntarsiaError):
    """Events could not be made durable; none of the call's events count as taken."""


class Journal:
    """Appends to one segment; safe to call from many threads, which then share one fsync."""

    def __init__(self, folder: Path) -> None:
        self._segment = SegmentWriter(folder)
        self._waiting: list[_Append] = []
        self._waiting_lock = threading.Lock()
        self._disk_lock = threading.Lock()

    @property
    def path(self) -> Path:
        """The segment that is written now."""
        return self._segment.path

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
            self._segment.close()

    def _write(self, group: Sequence[_Append]) -> None:
        error: OSError | None = None
        try:
            self._segment.append(b"".join(append.content for append in group))
        except OSError as refused:
            error = refused
        for append in group:
            append.done, append.error = True, error


def read_events(folder: Path) -> Iterator[Event]:
    """Every durable event of every segment, segments in the order of their start; a torn end is left out."""
    for row in read_rows(folder):
        yield row_to_event(row | {name: datetime.fromisoformat(row[name]) for name in _TIMES})


class _Append:
    """One caller's lines on their way to disk."""

    __slots__ = ("content", "done", "error")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.done = False
        self.error: OSError | None = None


def _line(event: Event) -> bytes:
    row = {name: value for name, value in event_to_row(event).items() if value is not None}
    return line_of(row | {name: row[name].isoformat() for name in _TIMES})
