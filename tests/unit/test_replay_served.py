"""Served requests of the small shop are logged and replayed: the bits are equal, and every difference is detected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intarsia.engine.rank import in_fused_order
from intarsia.engine.search import SearchEngine
from intarsia.errors import ReleaseMismatch
from intarsia.features.assemble import Assembler
from intarsia.features.stats import StatsLedger
from intarsia.ids import EventId, ProductId, ReleaseId, RequestId
from intarsia.lake import Lake
from intarsia.records.event import Event
from intarsia.records.query import Filters, Query
from intarsia.records.served import ServedRequest, is_sampled
from intarsia.release.bundle import open_bundle
from intarsia.release.pointer import Pointer
from intarsia.tables.segments import SegmentWriter, encode_line, segment_paths
from intarsia.tables.served_requests import read_served, served_to_row
from pipelines.job import JobProgress
from pipelines.replay_served import JOB, ReplayDiffers, ReplayServedConfig
from serve_apps.service.served_log import ServedLog
from tests.shop import NOON, make_image, small_shop

NOTHING = {
    "requests": 0,
    "same": 0,
    "different": 0,
    "degraded": 0,
    "release_gone": 0,
    "release_refused": 0,
    "releases": 0,
}


def queries() -> Iterator[Query]:
    """One query of each form: words in two languages, images, seeds, filters, pages; and one without hits."""
    parts_by_id: dict[str, dict[str, Any]] = {
        "words": {"text": "red bag", "limit": 5},
        "chinese": {"text": "红色 马克杯", "locale": "zh"},
        "image": {"image": make_image("mug", "red")},
        "both": {"text": "blue lamp", "image": make_image("lamp", "blue")},
        "seed": {"seed_product_ids": (ProductId("p010"),)},
        "seeds": {"seed_product_ids": (ProductId("p001"), ProductId("p002")), "text": "dress"},
        "filtered": {
            "text": "green dress",
            "filters": Filters(
                brands=("Acorn", "Luma"),
                price_max=40_000,
                attributes={"material": ("cotton", "linen")},
                exclude=(ProductId("p003"),),
            ),
        },
        "explained": {"text": "lamp", "explain": True, "facets": ("brand", "price")},
        "later page": {"text": "black mug", "offset": 10, "limit": 7},
        "nothing": {"text": "red bag", "filters": Filters(brands=("nobody",))},
    }
    for name, parts in parts_by_id.items():
        yield Query(request_id=RequestId(name), asked_at=NOON, **parts)


@pytest.fixture(scope="module")
def folder() -> Path:
    """The live release of the small shop."""
    return Pointer(small_shop().root / "releases").live_folder()


@pytest.fixture(scope="module")
def engine(folder: Path) -> SearchEngine:
    return open_bundle(folder)


@pytest.fixture(scope="module")
def log(engine: SearchEngine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of all queries, ranked in one batch; a batch does not change the features of a query."""
    folder_of_log = tmp_path_factory.mktemp("served")
    log = ServedLog(folder_of_log, 1.0)
    all_queries = list(queries())
    for query, ranked in zip(all_queries, engine.rank_queries(all_queries), strict=True):
        log.append(query=query, ranked=ranked, page=ranked.page(query), product_ids=engine.columns.product_ids)
    log.close()
    assert log.num_dropped == 0
    return folder_of_log


@pytest.fixture
def served_by_id(log: Path) -> dict[str, ServedRequest]:
    return {served.request_id: served for served in read_served(log)}


@pytest.fixture
def replayed(folder: Path, lake: Lake) -> Callable[..., dict[str, Any]]:
    """Runs the job on a lake that holds the small shop's release, with a log."""
    releases = lake.root / "releases"
    releases.mkdir(parents=True)
    (releases / folder.name).symlink_to(folder)

    def run(**settings: Any) -> dict[str, Any]:
        return dict(JOB.run(ReplayServedConfig(**settings), lake, JobProgress("replay_served")))

    return run


def write(folder_of_log: Path, *log: ServedRequest) -> Path:
    writer = SegmentWriter(folder_of_log)
    writer.append(b"".join(encode_line(served_to_row(served)) for served in log))
    writer.close()
    return folder_of_log


def report(lake: Lake) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((lake.current("served_replay").path / "report.json").read_text())
    return content


@pytest.mark.slow
def test_every_form_of_query_is_replayed_to_the_bit(folder: Path, served_by_id: dict[str, ServedRequest]) -> None:
    opened_again = open_bundle(folder)
    assert {name: opened_again.replay(served) for name, served in served_by_id.items()} == {
        name: served.digest for name, served in served_by_id.items()
    }
    digests = {served.digest for served in served_by_id.values()}
    assert len(digests) == len(served_by_id)
    assert all(served.is_replayable and served.release_id == folder.name for served in served_by_id.values())


def test_the_log_holds_the_query_vectors_and_the_page(
    engine: SearchEngine, served_by_id: dict[str, ServedRequest]
) -> None:
    names_by_id = {name: set(served.vectors) for name, served in served_by_id.items()}
    assert (names_by_id["words"], names_by_id["image"], names_by_id["both"]) == ({"text"}, {"image"}, {"text", "image"})
    assert names_by_id["seeds"] == {"text", "image"}
    words = engine.encoders.encode(next(queries())).vectors["text"]
    assert served_by_id["words"].vectors["text"].values_D.tobytes() == words.values_D.tobytes()
    query_by_id = {query.request_id: query for query in queries()}
    for name, served in served_by_id.items():
        page = engine.search([query_by_id[RequestId(name)]])[0]
        ids = [engine.columns.product_ids[hit.row] for hit in page.hits]
        assert served.shown == tuple((hit.position, product_id) for hit, product_id in zip(page.hits, ids, strict=True))
    assert served_by_id["later page"].shown[0][0] == 11
    assert served_by_id["nothing"].shown == ()


def test_other_stats_are_detected(engine: SearchEngine, served_by_id: dict[str, ServedRequest]) -> None:
    shown = served_by_id["words"].shown[0][1]
    click = Event(
        event_id=EventId("e"),
        request_id=RequestId("words"),
        release_id=engine.release_id,
        kind="click",
        product_id=shown,
        occurred_at=NOON,
        received_at=NOON,
    )
    stats = StatsLedger.empty().fold_all([click]).as_of(None)
    assembler = Assembler(engine.columns, stats, engine.retrieve.vectors)
    fresher = replace(engine, rank=replace(engine.rank, assembler=assembler))
    assert fresher.replay(served_by_id["words"]) != served_by_id["words"].digest


@pytest.mark.parametrize("name", ["words", "image", "seed"])
def test_a_vector_with_other_last_bits_is_detected(
    engine: SearchEngine, served_by_id: dict[str, ServedRequest], name: str
) -> None:
    served = served_by_id[name]
    space, vector = next(iter(served.vectors.items()))
    changed_D = (vector.values_D.view(np.uint32) ^ np.uint32(1)).view(np.float32)
    assert np.allclose(changed_D, vector.values_D, rtol=1e-6)
    changed = replace(served, vectors={**served.vectors, space: replace(vector, values_D=changed_D)})
    assert engine.replay(changed) != served.digest


def test_the_stages_of_another_release_are_refused(
    engine: SearchEngine, served_by_id: dict[str, ServedRequest]
) -> None:
    message = (
        f"request words was served by release r-other, this is {engine.release_id}. Fix: open the release that served"
    )
    with pytest.raises(ReleaseMismatch, match=message):
        engine.replay(replace(served_by_id["words"], release_id=ReleaseId("r-other")))


@pytest.mark.slow
def test_the_job_counts_equal_requests_and_skips_a_torn_end(
    replayed: Callable[..., dict[str, Any]], log: Path, lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    num_requests = len(list(queries()))
    whole = {**NOTHING, "requests": num_requests, "same": num_requests, "releases": 1}
    assert replayed(served=log) == whole
    assert f"replay_served  requests {num_requests}/{num_requests}" in capsys.readouterr().err
    assert report(lake) == {**whole, "first_different": []}
    torn = lake.root / "served"
    shutil.copytree(log, torn)
    [segment] = segment_paths(torn)
    segment.write_bytes(segment.read_bytes()[:-1])
    assert replayed() == {**whole, "requests": num_requests - 1, "same": num_requests - 1}


def test_the_job_replays_a_share_of_the_requests(replayed: Callable[..., dict[str, Any]], log: Path) -> None:
    chosen = [query for query in queries() if is_sampled(query.request_id, 0.5)]
    assert 0 < len(chosen) < 10
    assert replayed(served=log, share=0.5) == {**NOTHING, "requests": len(chosen), "same": len(chosen), "releases": 1}
    with pytest.raises(ValueError, match=r"share is 2; allowed: 0 to 1"):
        ReplayServedConfig(share=2)


def test_without_a_log_there_is_nothing_to_replay(replayed: Callable[..., dict[str, Any]]) -> None:
    assert replayed() == NOTHING


def test_a_difference_stops_the_job_and_is_in_the_report(
    replayed: Callable[..., dict[str, Any]], served_by_id: dict[str, ServedRequest], lake: Lake
) -> None:
    other = [replace(served_by_id[name], digest=b"\0" * 8) for name in ("seed", "both")]
    folder_of_log = write(lake.root / "served", served_by_id["words"], *other)
    message = "the recomputed features of 2 of 3 served requests differ, first seed, both; "
    with pytest.raises(ReplayDiffers, match=message):
        replayed(served=folder_of_log)
    assert report(lake) == {
        **NOTHING,
        "requests": 3,
        "same": 1,
        "different": 2,
        "releases": 1,
        "first_different": ["seed", "both"],
    }


def test_requests_that_cannot_be_compared_are_counted_apart(
    replayed: Callable[..., dict[str, Any]],
    engine: SearchEngine,
    served_by_id: dict[str, ServedRequest],
    lake: Lake,
    caplog: pytest.LogCaptureFixture,
) -> None:
    query = next(queries())
    late = in_fused_order(engine.fuser.fuse(engine.retrieve.retrieve([engine.encoders.encode(query)])[0]), 5)
    broken = lake.root / "releases" / "r-broken"
    broken.mkdir()
    folder_of_log = write(
        lake.root / "served",
        replace(served_by_id["words"], digest=late.digest, degraded=("ranker: deadline 0 ms",)),
        replace(served_by_id["seed"], release_id=ReleaseId("r-gone")),
        replace(served_by_id["both"], release_id=ReleaseId("r-gone")),
        replace(served_by_id["both"], release_id=ReleaseId("r-broken")),
        served_by_id["image"],
    )
    assert replayed(served=folder_of_log) == {
        "requests": 5,
        "same": 1,
        "different": 0,
        "degraded": 1,
        "release_gone": 2,
        "release_refused": 1,
        "releases": 3,
    }
    assert "release_refused release_id=r-broken" in caplog.text
