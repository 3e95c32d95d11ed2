"""Read the learning curves of the fitted parts of a release, from the release and from the lake that made it.

A release holds the curves of its ranker and of a fitted fusion. Those of its encoders and alignment heads stay in the
lake. They are left out if the lake has trained other encoders since, which the id of the vector space shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from intarsia.encoders.lake_models import TOWER_CURVE, TOWER_SETTINGS
from intarsia.engine.retrieve import stored_spaces
from intarsia.errors import ArtifactError
from intarsia.evaluation.learning_curves import LearningCurve, Points, best_point
from intarsia.fusion.feature.feature_fuser import SCORER_FOLDER
from intarsia.fusion.feature.scorer import SCORER_FILE
from intarsia.fusion.feature.scorer import VALIDATION_CURVE as FUSION_CURVE
from intarsia.lake import Entry, Lake
from intarsia.ranking.lightgbm_ranker import RANKER_HEADER

_WORDS, _TOWER = "masked_words", "tower"  # fits of a text tower; all others are its folds
_VALIDATION, _HELD_OUT = "validation {name}", "held out, {name}"
_NDCG = "nDCG@10"
_TEXT_FIGURES = {"ndcg@10": _VALIDATION.format(name=_NDCG)}
_WORD_FIGURES = {"guessed": _HELD_OUT.format(name="words guessed"), "paired": _HELD_OUT.format(name="pairs guessed")}
_IMAGE_FIGURES = {
    "r@1": _HELD_OUT.format(name="R@1"),
    "r@10": _HELD_OUT.format(name="R@10"),
    "mrr": _HELD_OUT.format(name="MRR"),
}
_ALIGNMENT_FIGURES = {
    "text_to_image_r@1": _HELD_OUT.format(name="text to image R@1"),
    "image_to_text_r@1": _HELD_OUT.format(name="image to text R@1"),
}
"""Metrics of the jobs and their titles in the report; others (other depths of the same metric) are not shown."""


def read_learning_curves(release: Path, lake: Lake) -> tuple[LearningCurve, ...]:
    """The curves of all fitted parts of a release, in the order of the jobs; parts without a curve are left out.

    A text tower with folds shows the fit of the tower that serves, or its folds if the tower is their average.

    Args:
        release: folder of the bundle.
        lake: where its encoders were trained; it may have none of them.

    Raises:
        ArtifactError: a curve is not readable, or the release does not name its vector spaces.
    """
    in_release = stored_spaces(release / "indexes")
    curves: list[LearningCurve] = []
    if tower := _trained(lake, "text_tower", in_release.get("text")):
        curves += _of_text_tower(tower)
    if tower := _trained(lake, "image_tower", in_release.get("image")):
        curves += _of_image_tower(tower)
    if heads := _trained(lake, "alignment", in_release.get("aligned")):
        curves += _of_alignment(heads)
    curves += _of_fusion(release / "fusion_spec")
    curves += _of_ranker(release / "ranker")
    return tuple(curve for curve in curves if curve.loss or curve.figures)


def _trained(lake: Lake, name: str, space_id: str | None) -> Entry | None:
    """The lake's entry, if it made this vector space and has a curve."""
    if space_id is None or not lake.has(name):
        return None
    entry = lake.current(name)
    return entry if entry.notes.get("space_id") == space_id and (entry.path / TOWER_CURVE).is_file() else None


def _of_text_tower(tower: Entry) -> Iterator[LearningCurve]:
    with _read(tower.path / TOWER_SETTINGS, "finetune_text") as training:
        kept = {name: int(fit["kept_step"]) for name, fit in training["fits"].items()}
    with _read(tower.path / TOWER_CURVE, "finetune_text") as curves:
        if _WORDS in curves:
            yield _of_steps("text tower, hidden words", curves[_WORDS], _WORD_FIGURES, kept[_WORDS])
        if _TOWER in curves:
            yield _of_steps("text tower", curves[_TOWER], _TEXT_FIGURES, kept[_TOWER])
            return
        for name in sorted(set(curves) - {_WORDS}):
            yield _of_steps(f"text tower, {name.replace('folds/', 'fold ')}", curves[name], _TEXT_FIGURES, kept[name])


def _of_image_tower(tower: Entry) -> Iterator[LearningCurve]:
    with _read(tower.path / TOWER_SETTINGS, "finetune_image") as training:
        kept_at = int(training["kept_step"])
    with _read(tower.path / TOWER_CURVE, "finetune_image") as curve:
        yield _of_steps("image tower", curve, _IMAGE_FIGURES, kept_at)


def _of_alignment(heads: Entry) -> Iterator[LearningCurve]:
    with _read(heads.path / TOWER_CURVE, "align_modalities") as alignment:
        yield _of_steps("alignment", alignment["curve"], _ALIGNMENT_FIGURES, alignment.get("kept_step"))


def _of_fusion(folder: Path) -> Iterator[LearningCurve]:
    path = folder / SCORER_FOLDER / SCORER_FILE
    if not path.is_file():
        return
    with _read(path, "search_fusion") as card:
        points = tuple((int(step), float(ndcg)) for step, ndcg in card.get(FUSION_CURVE, ()))
        if points:
            name = f"fusion, {card['kind']}"
            yield LearningCurve(
                part=name, figures={_VALIDATION.format(name=_NDCG): points}, kept_at=best_point(points)[0]
            )


def _of_ranker(folder: Path) -> Iterator[LearningCurve]:
    with _read(folder / RANKER_HEADER, "train_ranker") as header:
        points = tuple((tree, float(ndcg)) for tree, ndcg in enumerate(header.get("learning_curve", ()), start=1))
        if points:
            figures = {_VALIDATION.format(name=_NDCG): points}
            yield LearningCurve(part="ranker", unit="tree", figures=figures, kept_at=int(header["best_iteration"]))


def _of_steps(
    part: str, curve: Sequence[Mapping[str, Any]], names: Mapping[str, str], kept_at: int | None
) -> LearningCurve:
    """The curve of a fit by `training/loop.py`: the loss of every step, metrics at the end of each epoch."""
    figures: dict[str, Points] = {
        title: tuple((int(p["step"]), float(p["figures"][name])) for p in curve if name in p["figures"])
        for name, title in names.items()
    }
    return LearningCurve(
        part=part,
        loss=tuple((int(p["step"]), float(p["loss"])) for p in curve),
        figures={title: points for title, points in figures.items() if points},
        kept_at=kept_at,
    )


@contextmanager
def _read(path: Path, job: str) -> Iterator[Any]:
    """The content of a JSON file; errors of the block that reads it become an ArtifactError."""
    try:
        yield json.loads(path.read_text(encoding="utf-8"))
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} holds no learning curve ({error!r}); run {job} --force") from None
