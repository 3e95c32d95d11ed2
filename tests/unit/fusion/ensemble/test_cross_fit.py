from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intarsia.errors import ArtifactError, DataError
from intarsia.fusion.ensemble.boosting import BoostingConfig
from intarsia.fusion.ensemble.cross_fit import FOLDS, FOLDS_FILE, CrossFitFuser, cross_fit, open_cross_fit
from intarsia.fusion.protocol import Fuser, FusionTrainingData
from intarsia.fusion.registry import open_fuser
from intarsia.fusion.spec import FusionSpec
from intarsia.fusion.training_data import queries_outside_fold, select_queries
from intarsia.ids import fold_of
from tests.unit.fusion.fusion_cases import small_config, training_data

NUM_FOLDS = 3


def fit(train: FusionTrainingData) -> CrossFitFuser:
    return cross_fit(small_config("boosting"), train, training_data("validation"), num_folds=NUM_FOLDS, seed=3)


def score_bytes(fuser: Fuser) -> bytes:
    fused = [fuser.fuse(candidates).fused_C for candidates in training_data("test").candidates]
    return b"".join(fused_C.tobytes() for fused_C in fused if fused_C is not None)


def test_the_fold_depends_on_the_id_only_and_folds_have_similar_sizes() -> None:
    folds = [fold_of(f"query {number}", 5) for number in range(1000)]
    assert min(np.bincount(folds, minlength=5)) > 150
    assert fold_of("query 7", 5) == folds[7]


def test_a_fold_fuser_does_not_depend_on_the_grades_of_its_fold() -> None:
    train = training_data("train")
    in_fold = np.array([fold_of(name, NUM_FOLDS) == 1 for name in train.query_ids])
    assert in_fold.any()
    grades = [3.0 - grades if changed else grades for grades, changed in zip(train.grades, in_fold, strict=True)]
    before, after = fit(train), fit(replace(train, grades=grades))
    assert score_bytes(before.folds[1]) == score_bytes(after.folds[1])
    for fold in (0, 2):
        assert score_bytes(before.folds[fold]) != score_bytes(after.folds[fold])


def test_each_train_query_is_fused_by_the_fuser_of_its_fold() -> None:
    crossed = fit(training_data("train"))
    for name in training_data("train").query_ids:
        assert crossed.out_of_fold(name) is crossed.folds[fold_of(name, NUM_FOLDS)]


def test_a_saved_and_opened_cross_fit_gives_the_same_scores(tmp_path: Path) -> None:
    crossed = fit(training_data("train"))
    crossed.save(tmp_path)
    opened = open_cross_fit(tmp_path)
    assert len(opened.folds) == NUM_FOLDS
    opened_bytes = [score_bytes(fuser) for fuser in (opened.full, *opened.folds)]
    assert opened_bytes == [score_bytes(fuser) for fuser in (crossed.full, *crossed.folds)]
    assert score_bytes(open_fuser(tmp_path)) == score_bytes(crossed.full)


def test_a_method_that_is_not_fitted_has_no_folds(tmp_path: Path) -> None:
    crossed = cross_fit(
        FusionSpec(kind="rrf"), training_data("train"), training_data("validation"), num_folds=NUM_FOLDS, seed=3
    )
    crossed.save(tmp_path)
    opened = open_cross_fit(tmp_path)
    assert opened.folds == ()
    assert opened.out_of_fold("train-4") is opened.full


@pytest.mark.parametrize("text", ["{", "{}", '{"num_folds": null}'])
def test_a_damaged_folds_file_is_refused(text: str, tmp_path: Path) -> None:
    fit(training_data("train")).save(tmp_path)
    (tmp_path / FOLDS / FOLDS_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"folds.json does not give the number of folds"):
        open_cross_fit(tmp_path)


def test_a_missing_fold_is_refused(tmp_path: Path) -> None:
    fit(training_data("train")).save(tmp_path)
    (tmp_path / FOLDS / FOLDS_FILE).write_text(json.dumps({"num_folds": NUM_FOLDS + 1}), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"folds/3/fusion.json does not exist"):
        open_cross_fit(tmp_path)


def test_fewer_than_two_folds_are_refused() -> None:
    with pytest.raises(ValueError, match="num_folds is 1; allowed: 2 or more"):
        fold_of("a", 1)


def test_a_fold_outside_of_which_nothing_is_relevant_is_refused() -> None:
    one_query = select_queries(training_data("train"), [0])
    with pytest.raises(DataError, match=r"no query with a relevant candidate outside fold . of 2, of 1 in all"):
        queries_outside_fold(one_query, fold_of("train-0", 2), 2)


def test_training_data_without_a_relevant_candidate_is_refused() -> None:
    train = training_data("train")
    irrelevant = replace(train, grades=[np.zeros_like(grades) for grades in train.grades])
    with pytest.raises(DataError, match=r"none above 0 among the candidates of the 24 train queries"):
        cross_fit(BoostingConfig(), irrelevant, training_data("validation"), num_folds=NUM_FOLDS, seed=3)
