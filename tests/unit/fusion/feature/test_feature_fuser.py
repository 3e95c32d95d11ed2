"""The fuser of feature fusion: its column is weighed on out-of-fold scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intarsia.errors import ConfigError
from intarsia.fusion.ensemble.cross_fit import cross_fit
from intarsia.fusion.feature.feature_fuser import JOINT, FeatureConfig, FeatureFuser, fit_features
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.protocol import Fuser
from intarsia.fusion.registry import open_fuser, parse_method_config
from intarsia.fusion.training_data import select_queries
from intarsia.ids import fold_of
from intarsia.records.candidates import best_first
from tests.unit.fusion.fusion_cases import RETRIEVERS, SMALL_FEATURES, fitted, training_data

OVERFITTING = {"width": 8, "num_heads": 2, "num_steps": 60, "learning_rate": 0.02, "measure_every": 20, "dropout": 0.0}


def config(**overrides: object) -> FeatureConfig:
    parsed = parse_method_config({"kind": "average", **SMALL_FEATURES, **overrides})
    assert isinstance(parsed, FeatureConfig)
    return parsed


def test_the_column_is_weighed_together_with_the_retrievers() -> None:
    fuser = fitted("average")
    assert isinstance(fuser, FeatureFuser)
    assert isinstance(fuser.score_fuser, SpecFuser)
    assert tuple(fuser.score_fuser.spec.weights) == (*RETRIEVERS, JOINT)


def test_with_use_only_the_order_is_that_of_the_scorer() -> None:
    fuser = fit_features(config(use="only"), training_data("train"), training_data("validation"), seed=7)
    candidates = training_data("test").candidates[0]
    scores_C = fuser.scorer.score(candidates.query_vectors, fuser.products, candidates.rows_C)
    fused = fuser.fuse(candidates)
    assert fused.fused_C is not None
    assert best_first(fused.fused_C, fused.rows_C).tolist() == best_first(scores_C, candidates.rows_C).tolist()


def test_a_query_without_vectors_is_ordered_by_the_retrievers() -> None:
    for use in ("only", "with_scores"):
        fuser = fit_features(config(use=use), training_data("train"), training_data("validation"), seed=7)
        candidates = replace(training_data("test").candidates[0], query_vectors={})
        fused = fuser.fuse(candidates)
        assert fused.fused_C is not None
        assert len(set(fused.fused_C.tolist())) > 1


def test_a_method_without_fitted_parts_may_weigh_the_column() -> None:
    fuser = fit_features(
        config(fused_by={"kind": "rrf"}, num_folds=3), training_data("train"), training_data("validation"), seed=7
    )
    assert isinstance(fuser.score_fuser, SpecFuser)
    assert fuser.score_fuser.spec.kind == "rrf"


def test_with_folds_an_overfitted_column_has_little_weight() -> None:
    # the vectors do not determine the grades: a scorer can only memorise the train queries
    train = training_data("train")
    fuser = fit_features(config(num_folds=2, joint=OVERFITTING), train, training_data("validation"), seed=7)
    assert isinstance(fuser.score_fuser, SpecFuser)
    assert fuser.score_fuser.spec.weights[JOINT] < 0.2


def test_training_data_without_vectors_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"fusion method average reads the vectors of products\. Fix: give the training data"
    ):
        fit_features(config(), replace(training_data("train"), products=None), training_data("validation"), seed=7)


def test_opening_needs_product_vectors(tmp_path: Path) -> None:
    fitted("average").save(tmp_path)
    with pytest.raises(
        ConfigError, match=r"fusion method average reads the vectors of products\. Fix: open it with them"
    ):
        open_fuser(tmp_path)


def test_with_use_only_no_candidate_is_dropped() -> None:
    fuser = fit_features(config(use="only"), training_data("train"), training_data("validation"), seed=7)
    candidates = training_data("test").candidates[0]
    assert fuser.fuse(candidates).rows_C.tolist() == candidates.rows_C.tolist()
    assert np.isfinite(fuser.fuse(candidates).scores_CR).tolist() == np.isfinite(candidates.scores_CR).tolist()


@pytest.mark.slow
def test_a_fold_fuser_does_not_depend_on_the_grades_of_its_fold() -> None:
    train = training_data("train")
    query_folds = [fold_of(name, 3) for name in train.query_ids]
    changed = replace(
        train, grades=[3.0 - g if fold == 1 else g for g, fold in zip(train.grades, query_folds, strict=True)]
    )
    # validation queries that the fits also train on, so that overfitting raises the validation nDCG
    fold_2 = select_queries(train, [at for at, fold in enumerate(query_folds) if fold == 2])
    overfitting = config(use="only", joint=OVERFITTING)
    before, after = (cross_fit(overfitting, data, fold_2, num_folds=3, seed=7) for data in (train, changed))
    assert score_bytes(before.folds[1]) == score_bytes(after.folds[1])
    assert score_bytes(before.folds[0]) != score_bytes(after.folds[0])
    assert score_bytes(before.full) == score_bytes(fit_features(overfitting, train, fold_2, seed=7))


def score_bytes(fuser: Fuser) -> bytes:
    fused = [fuser.fuse(candidates).fused_C for candidates in training_data("test").candidates]
    return b"".join(fused_C.tobytes() for fused_C in fused if fused_C is not None)
