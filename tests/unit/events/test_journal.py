"""The feedback journal keeps acknowledged events, whatever happens to the end of a segment."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from intarsia.events.journal import Journal, read_events
from intarsia.ids import EventId, ProductId, ReleaseId, RequestId
from intarsia.records.event import Event
from intarsia.tables.segments import read_segment, segment_paths
from tests.full_disk import run_on_a_full_disk

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def click(number: int) -> Event:
    return Event(
        event_id=EventId(f"e{number}"),
        request_id=RequestId("r1"),
        release_id=ReleaseId("release-1"),
        kind="click",
        product_id=ProductId("红色运动鞋"),
        position=number + 1,
        occurred_at=NOON,
        received_at=NOON + timedelta(milliseconds=number),
    )


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal")
    yield opened
    opened.close()


def test_appended_events_are_read_back_equal_and_in_order(journal: Journal, tmp_path: Path) -> None:
    events = [click(i) for i in range(5)]
    journal.append(events[:2])
    journal.append(events[2:])
    assert list(read_events(tmp_path / "journal")) == events


def test_a_folder_without_a_journal_holds_no_events(tmp_path: Path) -> None:
    assert list(read_events(tmp_path / "none")) == []


def test_a_segment_cut_at_any_byte_yields_a_prefix(journal: Journal, tmp_path: Path) -> None:
    events = [click(i) for i in range(3)]
    journal.append(events)
    whole = journal.path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    damaged = tmp_path / "torn.journal"
    for cut in range(len(whole) + 1):
        damaged.write_bytes(whole[:cut])
        kept = [row["event_id"] for row in read_segment(damaged)]
        assert kept == [e.event_id for e in events[: sum(end <= cut for end in ends)]]


def test_a_changed_byte_ends_the_segment_before_it(journal: Journal, tmp_path: Path) -> None:
    journal.append([click(i) for i in range(3)])
    content = bytearray(journal.path.read_bytes())
    second = content.index(b"\n") + 1
    content[second + 20] ^= 1
    damaged = tmp_path / "torn.journal"
    damaged.write_bytes(content)
    assert [row["event_id"] for row in read_segment(damaged)] == ["e0"]


def test_concurrent_appends_keep_every_event_once(journal: Journal, tmp_path: Path) -> None:
    def append(first: int) -> None:
        for number in range(first, first + 20):
            journal.append([click(number)])

    threads = [threading.Thread(target=append, args=(first,)) for first in range(0, 160, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    event_ids = [event.event_id for event in read_events(tmp_path / "journal")]
    assert sorted(event_ids) == sorted(f"e{i}" for i in range(160))


def test_two_writers_never_share_a_segment(journal: Journal, tmp_path: Path) -> None:
    other = Journal(tmp_path / "journal")
    other.append([click(1)])
    other.close()
    assert len(segment_paths(tmp_path / "journal")) == 2
    assert len(list(read_events(tmp_path / "journal"))) == 1


FULL_DISK = """
import os, sys
from pathlib import Path
from intarsia.events.journal import Journal, JournalError
from tests.unit.events.test_journal import click

journal = Journal(Path(sys.argv[1]))
journal.append([click(0)])
first_segment = journal.path
try:
    journal.append([click(i) for i in range(1, 101)])
except JournalError as error:
    print(error)
assert os.path.getsize(first_segment) == first_segment.read_bytes().index(b"\\n") + 1
journal.append([click(200)])
journal.close()
"""


def test_a_full_disk_is_an_error_and_leaves_only_whole_lines(tmp_path: Path) -> None:
    printed = run_on_a_full_disk(FULL_DISK, str(tmp_path / "journal"), num_bytes=4096)
    assert re.search(r"100 events were not written to .*File too large", printed)
    assert [event.event_id for event in read_events(tmp_path / "journal")] == ["e0", "e200"]
