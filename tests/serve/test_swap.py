"""A release is swapped inside the process: new requests use the new one, requests in flight keep theirs."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from intarsia.errors import ArtifactError, ReleaseMismatch
from intarsia.ids import ReleaseId, RequestId
from intarsia.lake import Lake
from intarsia.records.query import Query
from intarsia.release.manifest import Manifest
from intarsia.release.pointer import Pointer
from serve_apps.app import open_api
from serve_apps.http.errors import ApiError
from serve_apps.service.releases import IngressRelease, ReleaseCache
from serve_apps.service.search_service import SearchService
from serve_apps.service.served_log import ServedLog
from serve_apps.service.stages import FusedStages
from serve_apps.settings import ServingConfig
from tests.serve.conftest import PATIENT, open_ingress_release
from tests.shop import make_next_release

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def two_releases(shop: Lake, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, ReleaseId, ReleaseId]:
    """A lake of its own with a first release and a later one; each test sets which is live."""
    lake = Lake(tmp_path_factory.mktemp("lake") / "lake")
    shutil.copytree(shop.root, lake.root)
    first = Pointer(lake.root / "releases").live()
    assert first is not None
    return lake, first, make_next_release(lake, weight_of_words=0.1)


@pytest.fixture
def live_and_next(two_releases: tuple[Lake, ReleaseId, ReleaseId]) -> tuple[ServingConfig, ReleaseId, ReleaseId]:
    """A config, the live release, and the next one."""
    lake, first, second = two_releases
    live(lake.root, first)
    return ServingConfig(lake=lake.root, refresh_s=0.0, budgets=PATIENT, journal=lake.root / "journal"), first, second


def live(root: Path, release_id: ReleaseId) -> None:
    Pointer(root / "releases").move(release_id, at=NOW, why="test")


def open_releases(config: ServingConfig) -> ReleaseCache[IngressRelease]:
    return ReleaseCache(config, open_ingress_release)


def test_a_moved_pointer_is_followed_and_the_old_release_stays_open(
    live_and_next: tuple[ServingConfig, ReleaseId, ReleaseId],
) -> None:
    config, first, second = live_and_next
    cache = open_releases(config)
    assert (cache.current, cache.refresh()) == (first, False)
    live(config.lake, second)
    assert cache.refresh()
    assert cache.current == second
    assert cache.get(first).release_id == first
    live(config.lake, first)
    assert cache.refresh()
    assert cache.current == first


def test_a_release_that_is_not_open_is_a_mismatch(live_and_next: tuple[ServingConfig, ReleaseId, ReleaseId]) -> None:
    config, first, second = live_and_next
    with pytest.raises(ReleaseMismatch, match=f"release {second} is not open here; open: {first}"):
        open_releases(config).get(second)


def test_a_pinned_process_stays_on_its_release(live_and_next: tuple[ServingConfig, ReleaseId, ReleaseId]) -> None:
    config, _, second = live_and_next
    pinned = open_releases(ServingConfig(lake=config.lake, release=second))
    assert (pinned.current, pinned.refresh()) == (second, False)


def test_a_torn_release_is_not_swapped_in(
    live_and_next: tuple[ServingConfig, ReleaseId, ReleaseId], caplog: pytest.LogCaptureFixture
) -> None:
    config, first, _ = live_and_next
    cache = open_releases(config)
    torn = config.releases / "r-torn"
    shutil.copytree(config.releases / first, torn)
    model = torn / "ranker" / "model.txt"
    model.unlink()
    live(config.lake, ReleaseId("r-torn"))
    assert not cache.refresh()
    assert cache.current == first
    assert "release_not_opened release_id=r-torn" in caplog.text
    shutil.rmtree(torn)


def test_nothing_is_served_before_a_release_is_live(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no release is live"):
        open_releases(ServingConfig(lake=tmp_path))


def test_an_unreadable_pointer_is_logged_and_read_again(
    live_and_next: tuple[ServingConfig, ReleaseId, ReleaseId], caplog: pytest.LogCaptureFixture
) -> None:
    config, _, second = live_and_next
    cache = ReleaseCache(ServingConfig(lake=config.lake, refresh_s=0.02), open_ingress_release)
    pointer = config.releases / "live.json"
    good = json.loads(pointer.read_text())
    for bad in ("{", "[]", '{"history": 1}'):
        caplog.clear()
        pointer.write_text(bad)
        _wait_for(lambda: "pointer_not_read" in caplog.text)
    pointer.write_text(json.dumps(good))
    live(config.lake, second)
    _wait_for(lambda: cache.current == second)
    cache.close()


def test_requests_see_the_new_release_after_the_swap(live_and_next: tuple[ServingConfig, ReleaseId, ReleaseId]) -> None:
    config, first, second = live_and_next
    following = ServingConfig(lake=config.lake, refresh_s=0.02, budgets=PATIENT, journal=config.journal)
    with TestClient(open_api(following, releases=ReleaseCache(following, open_ingress_release))) as http:
        assert http.get("/v1/search?q=mug").json()["release_id"] == first
        live(config.lake, second)
        _wait_for(lambda: http.get("/readyz").json()["release_id"] == second)
        assert http.get("/v1/search?q=mug").json()["release_id"] == second


def release_that_answers(
    config: ServingConfig, cache: ReleaseCache[IngressRelease], stages: ReleaseCache[IngressRelease]
) -> ReleaseId:
    def engine_of(release_id: ReleaseId):  # type: ignore[no-untyped-def]
        return stages.get(release_id).engine

    service = SearchService(
        releases=cache,
        stages=FusedStages(engine_of),
        budgets=config.budgets,
        num_threads=2,
        served=ServedLog(config.served_folder, 0.0),
    )
    query = Query(request_id=RequestId("r1"), text="red mug", asked_at=NOW)
    return asyncio.run(service.search(query)).page.release_id


def test_a_search_retries_with_the_new_release_that_the_stages_hold(
    live_and_next: tuple[ServingConfig, ReleaseId, ReleaseId],
) -> None:
    config, _, second = live_and_next
    ingress = open_releases(config)
    live(config.lake, second)
    assert release_that_answers(config, ingress, open_releases(config)) == second


def test_a_search_retries_with_the_old_release_that_the_stages_hold(
    live_and_next: tuple[ServingConfig, ReleaseId, ReleaseId],
) -> None:
    config, first, second = live_and_next
    ingress, stages = open_releases(config), open_releases(config)
    live(config.lake, second)
    ingress.refresh()
    assert release_that_answers(config, ingress, stages) == first


def test_stages_of_a_release_the_ingress_cannot_reach_are_503(
    live_and_next: tuple[ServingConfig, ReleaseId, ReleaseId],
) -> None:
    config, _, second = live_and_next
    stages = open_releases(ServingConfig(lake=config.lake, release=second))
    with pytest.raises(ApiError, match="a release is being swapped; try again"):
        release_that_answers(config, open_releases(config), stages)


def test_a_release_that_opens_slowly_is_503_and_opening_continues(
    live_and_next: tuple[ServingConfig, ReleaseId, ReleaseId],
) -> None:
    config, first, second = live_and_next
    may_open = threading.Event()

    def open_slowly(folder: Path, manifest: Manifest) -> IngressRelease:
        assert folder.name == first or may_open.wait(30)
        return open_ingress_release(folder, manifest)

    ingress = ReleaseCache(config, open_slowly)
    live(config.lake, second)
    hasty = dataclasses.replace(config, budgets=dataclasses.replace(PATIENT, release_ms=20))
    try:
        with pytest.raises(ApiError, match=r"try again \(release: deadline 20 ms\)") as refused:
            release_that_answers(hasty, ingress, open_releases(config))
    finally:
        may_open.set()
    assert refused.value.status == 503
    _wait_for(lambda: ingress.current == second)


def test_without_a_pointer_a_mismatch_is_503_with_retry_after(
    live_and_next: tuple[ServingConfig, ReleaseId, ReleaseId],
) -> None:
    config, _, second = live_and_next
    ingress, ahead = open_releases(config), open_releases(dataclasses.replace(config, release=second))
    pointer = config.releases / "live.json"
    kept = pointer.read_bytes()

    def engine_of(release_id: ReleaseId):  # type: ignore[no-untyped-def]
        return ahead.get(release_id).engine

    with TestClient(open_api(config, FusedStages(engine_of), ingress)) as http:
        pointer.unlink()
        reply = http.get("/v1/search?q=mug")
        pointer.write_bytes(kept)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert "a release is being swapped; try again (release: failed)" in reply.json()["error"]["message"]


def _wait_for(condition) -> None:  # type: ignore[no-untyped-def]
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s, "waited for 30 s"
        time.sleep(0.02)
