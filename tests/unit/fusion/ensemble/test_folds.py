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


def bits(fuser: Fuser) -> bytes:
    fused = [fuser.fuse(one).fused_C for one in training_data("test").candidates]
    return b"".join(fused_C.tobytes() for fused_C in fused if fused_C is not None)


def test_a_fold_hangs_on_the_id_alone_and_folds_are_about_even() -> None:
    folds = [fold_of(f"query {number}", 5) for number in range(1000)]
    assert min(np.bincount(folds, minlength=5)) > 150
    assert fold_of("query 7", 5) == folds[7]


def test_a_fold_fuser_never_saw_its_queries() -> None:
    train = training_data("train")
    held = np.array([fold_of(name, NUM_FOLDS) == 1 for name in train.query_ids])
    assert held.any()
    turned = replace(
        train, grades=[3.0 - grades if out else grades for grades, out in zip(train.grades, held, strict=True)]
    )
    before, after = fit(train), fit(turned)
    assert bits(before.folds[1]) == bits(after.folds[1])
    for fold in (0, 2):
        assert bits(before.folds[fold]) != bits(after.folds[fold])


def test_each_train_query_is_fused_by_the_fuser_of_its_fold() -> None:
    crossed = fit(training_data("train"))
    for name in training_data("train").query_ids:
        assert crossed.out_of_fold(name) is crossed.folds[fold_of(name, NUM_FOLDS)]


def test_saved_and_opened_full_and_folds_have_the_same_bits(tmp_path: Path) -> None:
    crossed = fit(training_data("train"))
    crossed.save(tmp_path)
    opened = open_cross_fit(tmp_path)
    assert len(opened.folds) == NUM_FOLDS
    assert [bits(one) for one in (opened.full, *opened.folds)] == [bits(one) for one in (crossed.full, *crossed.folds)]
    assert bits(open_fuser(tmp_path)) == bits(crossed.full)


def test_what_was_not_fitted_needs_no_folds(tmp_path: Path) -> None:
    crossed = cross_fit(
        FusionSpec(kind="rrf"), training_data("train"), training_data("validation"), num_folds=NUM_FOLDS, seed=3
    )
    crossed.save(tmp_path)
    opened = open_cross_fit(tmp_path)
    assert opened.folds == ()
    assert opened.out_of_fold("train-4") is opened.full


@pytest.mark.parametrize("text", ["{", "{}", '{"num_folds": null}'])
def test_a_torn_list_of_folds_is_refused(text: str, tmp_path: Path) -> None:
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


def test_a_fold_that_leaves_nothing_to_learn_is_refused() -> None:
    one_query = select_queries(training_data("train"), [0])
    with pytest.raises(DataError, match=r"no query with a relevant candidate outside fold . of 2, of 1 in all"):
        queries_outside_fold(one_query, fold_of("train-0", 2), 2)


def test_lessons_without_anything_relevant_are_refused() -> None:
    train = training_data("train")
    barren = replace(train, grades=[np.zeros_like(grades) for grades in train.grades])
    with pytest.raises(DataError, match=r"none above 0 among the candidates of the 24 train queries"):
        cross_fit(BoostingConfig(), barren, training_data("validation"), num_folds=NUM_FOLDS, seed=3)
