"""The learning curves of a release equal those that its fits recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from intarsia.config import to_jsonable
from intarsia.encoders.lake_models import TOWER_CURVE, TOWER_SETTINGS
from intarsia.errors import ArtifactError
from intarsia.evaluation.learning_curves import LearningCurve
from intarsia.experiments.fit_curves import read_learning_curves
from intarsia.fusion.feature.scorer import SCORER_FILE
from intarsia.lake import Lake, write_json
from intarsia.ranking.lambdamart import LambdaMartConfig, fit_lambdamart
from intarsia.ranking.lightgbm_ranker import RANKER_HEADER, save_ranker
from intarsia.ranking.rows import RankingRows
from intarsia.training.loop import FitConfig, FitResult, fit_in_process
from pipelines import finetune_image, finetune_text
from tests.unit.engine.small_fusion import TINY, gated_release
from tests.unit.engine.small_release import shop
from tests.word_matching import WordMatching

SPACES = {"text": "text-1", "image": "image-1", "aligned": "aligned-1"}


@dataclass(frozen=True)
class SmallRelease:
    """A release without curves, and the lake that made it."""

    release: Path
    lake: Lake

    def curves(self) -> tuple[LearningCurve, ...]:
        return read_learning_curves(self.release, self.lake)


@pytest.fixture
def small(tmp_path: Path) -> SmallRelease:
    release = tmp_path / "release"
    write_json(release / "indexes" / "manifest.json", {"space_ids": SPACES})
    for name in ("fusion_spec", "ranker"):
        (release / name).symlink_to(shop().release / name)
    return SmallRelease(release, Lake(tmp_path / "lake"))


@cache
def fit(*figures: str, watch: str = "") -> FitResult:
    """A fit of 12 steps, measured every 4, that continues after its best step."""

    class Measured(WordMatching):
        values = iter((0.25, 0.75, 0.5))

        def measure(self) -> Mapping[str, float]:
            value = next(self.values)
            return {name: value + number for number, name in enumerate(figures)}

    return fit_in_process(Measured(), FitConfig(epochs=3, batch_size=10, learning_rate=0.05, watch=watch))


def losses(fitted: FitResult) -> tuple[tuple[int, float], ...]:
    return tuple((point.step, point.loss) for point in fitted.curve)


def publish_text_tower(lake: Lake, fits: Mapping[str, FitResult], space_id: str = SPACES["text"]) -> Path:
    with lake.publish("text_tower", {"space_id": space_id}) as folder:
        finetune_text._describe(finetune_text.FinetuneTextConfig(), fits, {}, folder)
    return lake.current("text_tower").path


def publish_image_tower(lake: Lake, fitted: FitResult) -> Path:
    with lake.publish("image_tower", {"space_id": SPACES["image"]}) as folder:
        finetune_image._describe(finetune_image.FinetuneImageConfig(), fitted, {}, {}, folder)
    return lake.current("image_tower").path


def publish_alignment(lake: Lake, fitted: FitResult) -> Path:
    with lake.publish("alignment", {"space_id": SPACES["aligned"]}) as folder:
        curve = [to_jsonable(point) for point in fitted.curve]
        write_json(
            folder / TOWER_CURVE, {"curve": curve, "kept_step": fitted.kept_step, "held_out": {}, "untrained": {}}
        )
    return lake.current("alignment").path


def fit_ranker(folder: Path) -> tuple[float, ...]:
    """Write a ranker as its job does; returns its curve."""
    folder.mkdir()
    rng = np.random.default_rng(2)
    values_nF = rng.normal(size=(120, 2)).astype(np.float32)
    rows = RankingRows(
        values_nF=values_nF,
        labels_n=np.clip(np.round(values_nF[:, 0]), 0, 3).astype(np.int32),
        weights_n=np.ones(120, np.float32),
        offsets_G=np.arange(0, 121, 12, dtype=np.int64),
        feature_names=("useful", "noise"),
    )
    fitted = fit_lambdamart(rows, rows, [LambdaMartConfig(num_rounds=6, early_stopping_rounds=3, min_data_in_leaf=5)])[
        0
    ]
    facts = {"best_iteration": fitted.best_iteration, "learning_curve": list(fitted.curve)}
    save_ranker(folder, fitted.model, rows.feature_names, "features-1", facts)
    return fitted.curve


def test_a_text_tower_shows_masked_words_then_its_fit(small: SmallRelease) -> None:
    words, tower, fold = fit("minus_loss", "guessed"), fit("ndcg@10", watch="ndcg@10"), fit()
    publish_text_tower(small.lake, {"folds/0": fold, "masked_words": words, "tower": tower})
    first, second = small.curves()
    assert (first.part, first.kept_at) == ("text tower, hidden words", 12)
    assert first.figures == {"held out, words guessed": ((4, 1.25), (8, 1.75), (12, 1.5))}
    assert first.loss == losses(words)
    assert second == LearningCurve(
        part="text tower",
        loss=losses(tower),
        figures={"validation nDCG@10": ((4, 0.25), (8, 0.75), (12, 0.5))},
        kept_at=8,
    )


def test_a_tower_averaged_from_folds_shows_its_folds(small: SmallRelease) -> None:
    publish_text_tower(small.lake, {"folds/0": fit(), "folds/1": fit()})
    assert [(curve.part, curve.figures, curve.kept_at) for curve in small.curves()] == [
        ("text tower, fold 0", {}, 12),
        ("text tower, fold 1", {}, 12),
    ]


def test_an_image_tower_shows_all_it_measured(small: SmallRelease) -> None:
    fitted = fit("r@1", "r@10", "mrr", watch="r@1")
    publish_image_tower(small.lake, fitted)
    (curve,) = small.curves()
    assert (curve.part, curve.loss, curve.kept_at) == ("image tower", losses(fitted), 8)
    assert list(curve.figures) == ["held out, R@1", "held out, R@10", "held out, MRR"]
    assert curve.figures["held out, R@10"] == ((4, 1.25), (8, 1.75), (12, 1.5))


def test_the_alignment_shows_recall_in_both_directions(small: SmallRelease) -> None:
    fitted = fit("text_to_image_r@1", "image_to_text_r@1")
    publish_alignment(small.lake, fitted)
    (curve,) = small.curves()
    assert (curve.part, curve.loss, curve.kept_at) == ("alignment", losses(fitted), 12)
    assert list(curve.figures) == ["held out, text to image R@1", "held out, image to text R@1"]


def test_an_alignment_without_kept_step_still_shows_its_curve(small: SmallRelease) -> None:
    path = publish_alignment(small.lake, fit("text_to_image_r@1")) / TOWER_CURVE
    alignment = json.loads(path.read_text(encoding="utf-8"))
    del alignment["kept_step"]
    write_json(path, alignment)
    (curve,) = small.curves()
    assert (curve.part, curve.kept_at) == ("alignment", None)


def test_a_fitted_fusion_has_its_curve_in_the_release(tmp_path: Path) -> None:
    (curve,) = read_learning_curves(gated_release(), Lake(tmp_path))
    points = curve.figures["validation nDCG@10"]
    assert curve.part == "fusion, gated"
    assert [step for step, _ in points] == [0, TINY.measure_every, TINY.num_steps]
    values = [value for _, value in points]
    assert curve.kept_at == points[values.index(max(values))][0]


def test_the_ranker_shows_a_point_per_tree_and_the_kept_trees(small: SmallRelease) -> None:
    (small.release / "ranker").unlink()
    wanted = fit_ranker(small.release / "ranker")
    (curve,) = small.curves()
    assert (curve.part, curve.unit, curve.loss) == ("ranker", "tree", ())
    assert curve.figures == {"validation nDCG@10": tuple(enumerate(wanted, start=1))}
    assert curve.kept_at == 1 + int(np.argmax(wanted))


def test_parts_are_in_the_order_of_the_jobs(small: SmallRelease) -> None:
    (small.release / "ranker").unlink()
    fit_ranker(small.release / "ranker")
    (small.release / "fusion_spec").unlink()
    (small.release / "fusion_spec").symlink_to(gated_release() / "fusion_spec")
    publish_text_tower(small.lake, {"tower": fit()})
    publish_image_tower(small.lake, fit())
    publish_alignment(small.lake, fit())
    parts = [curve.part for curve in small.curves()]
    assert parts == ["text tower", "image tower", "alignment", "fusion, gated", "ranker"]


def test_encoders_of_another_release_are_left_out(small: SmallRelease) -> None:
    assert small.curves() == ()
    publish_text_tower(small.lake, {"tower": fit()}, space_id="text-2")  # trained since
    with small.lake.publish("image_tower", {"space_id": SPACES["image"]}) as folder:
        (folder / "weights").touch()  # without its curve
    assert small.curves() == ()


@pytest.mark.parametrize(
    ("name", "torn", "job"),
    [
        ("text_tower", TOWER_CURVE, "finetune_text"),
        ("text_tower", TOWER_SETTINGS, "finetune_text"),
        ("image_tower", TOWER_CURVE, "finetune_image"),
        ("alignment", TOWER_CURVE, "align_modalities"),
    ],
)
@pytest.mark.parametrize("content", ['{"tower": [', '{"tower": 3}', '{"curve": [{"step": 1}], "held_out": {}}', "[3]"])
def test_an_unreadable_curve_is_reported_with_its_job(
    small: SmallRelease, name: str, torn: str, job: str, content: str
) -> None:
    publish_text_tower(small.lake, {"tower": fit()})
    publish_image_tower(small.lake, fit())
    publish_alignment(small.lake, fit())
    (small.lake.current(name).path / torn).write_text(content)
    with pytest.raises(ArtifactError, match=rf"{name}/\w+/{torn} holds no learning curve .*; run {job} --force"):
        small.curves()


@pytest.mark.parametrize(
    ("file", "job"),
    [(Path("ranker", RANKER_HEADER), "train_ranker"), (Path("fusion_spec", "joint", SCORER_FILE), "search_fusion")],
)
def test_an_unreadable_curve_of_the_release_is_reported(small: SmallRelease, file: Path, job: str) -> None:
    part = small.release / file.parts[0]
    part.unlink()
    (small.release / file).parent.mkdir(parents=True)
    (small.release / file).write_text('{"learning_curve": 3')
    with pytest.raises(ArtifactError, match=rf"{file} holds no learning curve .*; run {job} --force"):
        small.curves()
