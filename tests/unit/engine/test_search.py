"""A release folder is opened, or refused with the part that does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from intarsia.encoders.open import ENCODER_CARD
from intarsia.engine.search import PARTS, SearchEngine, open_query_encoders
from intarsia.errors import ArtifactError, ReleaseMismatch
from intarsia.features.default_set import FEATURES
from intarsia.ids import ReleaseId
from intarsia.ranking.lightgbm_ranker import RANKER_HEADER
from tests.unit.engine.small_release import FLOORS, ask, image, shop

SHOP = shop()


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A copy of the release that a test may change."""
    shutil.copytree(SHOP.release, tmp_path / "release", ignore=shutil.ignore_patterns("model.onnx"))
    for name in ("text", "image"):
        (tmp_path / "release/query_encoders" / name / "model.onnx").symlink_to(
            SHOP.release / "query_encoders" / name / "model.onnx"
        )
    return tmp_path / "release"


def edit_json(path: Path, **values: str) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def test_every_part_is_of_the_release_that_was_opened(release: Path) -> None:
    engine = SearchEngine.open(release, release_id=ReleaseId("r-9"))
    assert engine.release_id == engine.retrieve.release_id == engine.rank.release_id == "r-9"
    assert engine.retrieve.config == FLOORS
    assert engine.rank.rank_depth == FLOORS.rank_depth
    assert engine.columns.num_rows == engine.documents.num_rows == len(SHOP.products)
    query = ask("red bag", image=image("red"), explain=True)
    page = engine.search([query])[0]
    assert page.release_id == "r-9"
    assert page.hits == SHOP.engine().search([query])[0].hits


@pytest.mark.parametrize("name", ["text", "image"])
def test_encoders_of_another_space_than_the_index_are_refused(release: Path, name: str) -> None:
    edit_json(release / "query_encoders" / name / ENCODER_CARD, space_id="new-model")
    message = f"the {name} query encoder makes vectors of space new-model, the index holds corner-{name}"
    with pytest.raises(ReleaseMismatch, match=message):
        SearchEngine.open(release, release_id=ReleaseId("r-9"))
    with pytest.raises(ReleaseMismatch, match=message):
        open_query_encoders(release / "query_encoders", indexes=release / "indexes", precision="fp32")


def test_a_ranker_trained_on_other_features_is_refused(release: Path) -> None:
    edit_json(release / "ranker" / RANKER_HEADER, feature_fingerprint="0123456789abcdef")
    message = f"the ranker was trained on features 0123456789ab, this code computes {FEATURES.fingerprint[:12]}"
    with pytest.raises(ReleaseMismatch, match=message):
        SearchEngine.open(release, release_id=ReleaseId("r-9"))


@pytest.mark.parametrize("part", PARTS)
def test_a_release_without_one_of_its_parts_is_refused(release: Path, part: str) -> None:
    shutil.rmtree(release / part)
    with pytest.raises(ArtifactError, match=f"{part}.*(; run |Fix: run )"):
        SearchEngine.open(release, release_id=ReleaseId("r-9"))
