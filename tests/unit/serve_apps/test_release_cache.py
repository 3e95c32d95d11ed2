"""The thread that follows the live pointer survives every error of opening a release."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import lightgbm
import pytest

from intarsia.errors import ConfigError, DataError
from intarsia.ids import ReleaseId
from intarsia.release.manifest import SCHEMA_VERSION, Manifest
from intarsia.release.pointer import Pointer
from serve_apps.service.releases import ReleaseCache
from serve_apps.settings import ServingConfig

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def empty_release(releases: Path, name: str) -> None:
    folder = releases / name
    folder.mkdir(parents=True)
    Manifest(
        release_id=ReleaseId(name),
        schema_version=SCHEMA_VERSION,
        created_at=NOW.isoformat(),
        git_commit="0",
        intarsia_version="0",
        parent=None,
        num_products=0,
        stats_as_of=None,
        space_ids={},
        feature_fingerprint="0",
        parts={},
        files={},
    ).save(folder)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s, "waited for 30 s"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "error",
    [
        DataError(table="stats", field="clicks", found=-1, allowed="0 or more", fix="ingest again"),
        ConfigError("depth is 0"),
        RuntimeError("onnx"),
        lightgbm.basic.LightGBMError("Model format error"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_release_that_fails_to_open_is_logged_and_the_next_is_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    config = ServingConfig(lake=tmp_path, refresh_s=0.01)
    for name in ("r-good", "r-broken", "r-better"):
        empty_release(config.releases, name)
    pointer = Pointer(config.releases)

    def open_part(folder: Path, manifest: Manifest) -> str:
        if folder.name == "r-broken":
            raise error
        return folder.name

    pointer.move(ReleaseId("r-good"), at=NOW, why="test")
    cache = ReleaseCache(config, open_part)
    try:
        pointer.move(ReleaseId("r-broken"), at=NOW, why="test")
        wait_for(lambda: "release_not_opened release_id=r-broken stays=r-good" in caplog.text)
        assert type(error).__name__ in caplog.text
        assert cache.current == "r-good"
        pointer.move(ReleaseId("r-better"), at=NOW, why="test")
        wait_for(lambda: cache.current == "r-better")
    finally:
        cache.close()
