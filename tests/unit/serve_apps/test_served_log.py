"""A thread writes the log; requests that cannot be written are counted and logged, and no request waits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from intarsia.engine.rank import Ranked
from intarsia.ids import ProductId, ReleaseId, RequestId, SpaceId
from intarsia.records.candidates import Candidates
from intarsia.records.page import Hit, Page
from intarsia.records.query import Query, QueryVector
from intarsia.records.served import IMAGE_NOT_STORED, is_sampled
from intarsia.tables.segments import segment_paths
from intarsia.tables.served_requests import read_served
from serve_apps.service.served_log import ServedLog

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
IDS = (ProductId("a"), ProductId("红"), ProductId("c"))
VECTOR = QueryVector(space_id=SpaceId("space"), values_D=np.array([0.6, -0.8], np.float32))
RANKED = Ranked(
    candidates=Candidates(
        release_id=ReleaseId("r-1"),
        rows_C=np.array([1, 2], np.int64),
        retrievers=("bm25",),
        scores_CR=np.ones((2, 1), np.float32),
        ranks_CR=np.ones((2, 1), np.int32),
        views_C=np.full(2, -1, np.int32),
        query_vectors={"text": VECTOR},
    ),
    order_C=np.array([1, 0]),
    scores_C=np.ones(2, np.float32),
    contributions={},
    digest=b"12345678",
)


def append(log: ServedLog, number: int, **changed: object) -> None:
    """Append request q0, q1, ..., whose page shows row 2, then row 1, from position 11."""
    query = Query(request_id=RequestId(f"q{number}"), text="red bag", asked_at=NOON, offset=10)
    hits = tuple(Hit(row=row, position=11 + i, score=1.0, fused=1.0, retrievers={}) for i, row in enumerate((2, 1)))
    page = Page(
        request_id=query.request_id,
        release_id=ReleaseId("r-1"),
        hits=hits,
        total=9,
        reachable=9,
        degraded=("image encoder: failed",),
    )
    log.append(query=replace(query, **changed), ranked=RANKED, page=page, product_ids=IDS)  # type: ignore[arg-type]


def ids_in(folder: Path) -> list[str]:
    return [served.request_id for served in read_served(folder)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ServedLog]:
    opened = ServedLog(tmp_path / "served", 1.0)
    yield opened
    opened.close()


def test_page_release_and_vectors_are_logged_without_the_image(log: ServedLog, tmp_path: Path) -> None:
    append(log, 0, image=b"\x89PNG of somebody")
    log.flush()
    [served] = read_served(tmp_path / "served")
    assert (served.request_id, served.release_id) == ("q0", "r-1")
    assert (served.query.text, served.query.offset, served.query.asked_at) == ("red bag", 10, NOON)
    assert served.query.image == IMAGE_NOT_STORED
    assert b"PNG" not in segment_paths(tmp_path / "served")[0].read_bytes()
    assert served.shown == ((11, "c"), (12, "红"))
    assert (served.digest, served.degraded) == (b"12345678", ("image encoder: failed",))
    assert served.vectors["text"].space_id == "space"
    assert served.vectors["text"].values_D.tobytes() == VECTOR.values_D.tobytes()


def test_closing_writes_the_queue_and_later_requests_are_dropped(log: ServedLog, tmp_path: Path) -> None:
    for number in range(5):
        append(log, number)
    log.close()
    append(log, 5)
    assert ids_in(tmp_path / "served") == [f"q{number}" for number in range(5)]
    assert log.num_dropped == 1
    log.close()


def test_a_full_queue_drops_counts_and_logs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = ServedLog(tmp_path, 1.0, capacity=4)
    with caplog.at_level(logging.WARNING, "intarsia"), log._changed:  # the writer cannot take the queue meanwhile
        for number in range(10):
            append(log, number)
        assert log.num_dropped == 6
    log.close()
    assert ids_in(tmp_path) == ["q0", "q1", "q2", "q3"]
    assert "served_log_dropped num_requests=6 capacity=4" in caplog.messages


@pytest.mark.parametrize("capacity", [2, 4_096])
def test_many_threads_double_nothing_and_lose_only_what_is_counted(tmp_path: Path, capacity: int) -> None:
    log = ServedLog(tmp_path, 1.0, capacity=capacity)
    threads = [
        threading.Thread(target=lambda first=first: [append(log, first + i) for i in range(50)])
        for first in range(0, 400, 50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    logged = ids_in(tmp_path)
    assert len(set(logged)) == len(logged) == 400 - log.num_dropped
    assert capacity < 400 or log.num_dropped == 0


def test_a_share_of_nothing_writes_no_file_and_starts_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    log = ServedLog(tmp_path / "served", 0.0)
    assert threading.active_count() == before
    append(log, 0)
    log.flush()
    log.close()
    assert not (tmp_path / "served").exists()
    assert log.num_dropped == 0


def test_a_share_of_the_requests_is_chosen_by_their_ids(tmp_path: Path) -> None:
    folders = (tmp_path / "one", tmp_path / "other")
    for folder in folders:
        log = ServedLog(folder, 0.5)
        for number in range(100):
            append(log, number)
        log.close()
    chosen = [f"q{number}" for number in range(100) if is_sampled(RequestId(f"q{number}"), 0.5)]
    assert 0 < len(chosen) < 100
    assert ids_in(folders[0]) == ids_in(folders[1]) == chosen


def test_a_failed_write_is_logged_and_the_next_one_is_tried(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "served"
    folder.write_text("a file in its place")
    log = ServedLog(folder, 1.0)
    with caplog.at_level(logging.WARNING, "intarsia"):
        append(log, 0)
        log.flush()
        assert log.num_dropped == 1
        assert any(line.startswith("served_log_failed") and "File exists" in line for line in caplog.messages)
    folder.unlink()
    append(log, 1)
    log.close()
    assert ids_in(folder) == ["q1"]


def test_a_text_that_cannot_be_encoded_is_dropped_and_counted(log: ServedLog, tmp_path: Path) -> None:
    append(log, 0, text="half \ud83d of a pair")
    log.flush()
    append(log, 1)
    log.flush()
    assert (ids_in(tmp_path / "served"), log.num_dropped) == (["q1"], 1)
