"""Feature fusion in the registry: its column beside the retrievers', weighed on scores of scorers that never saw the query."""

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

REMEMBERING = {"width": 8, "num_heads": 2, "num_steps": 60, "learning_rate": 0.02, "measure_every": 20, "dropout": 0.0}


def config(**more: object) -> FeatureConfig:
    made = parse_method_config({"kind": "average", **SMALL_FEATURES, **more})
    assert isinstance(made, FeatureConfig)
    return made


def test_the_column_is_weighed_beside_the_retrievers() -> None:
    fuser = fitted("average")
    assert isinstance(fuser, FeatureFuser)
    assert isinstance(fuser.score_fuser, SpecFuser)
    assert tuple(fuser.score_fuser.spec.weights) == (*RETRIEVERS, JOINT)


def test_alone_the_order_is_that_of_the_scorer() -> None:
    fuser = fit_features(config(use="only"), training_data("train"), training_data("validation"), seed=7)
    one = training_data("test").candidates[0]
    scores_C = fuser.scorer.score(one.query_vectors, fuser.products, one.rows_C)
    fused = fuser.fuse(one)
    assert fused.fused_C is not None
    assert best_first(fused.fused_C, fused.rows_C).tolist() == best_first(scores_C, one.rows_C).tolist()


def test_a_query_without_vectors_is_ordered_by_the_retrievers() -> None:
    for use in ("only", "with_scores"):
        fuser = fit_features(config(use=use), training_data("train"), training_data("validation"), seed=7)
        one = replace(training_data("test").candidates[0], query_vectors={})
        fused = fuser.fuse(one)
        assert fused.fused_C is not None
        assert len(set(fused.fused_C.tolist())) > 1


def test_a_kind_without_fitted_parts_may_weigh_the_column() -> None:
    fuser = fit_features(
        config(fused_by={"kind": "rrf"}, num_folds=3), training_data("train"), training_data("validation"), seed=7
    )
    assert isinstance(fuser.score_fuser, SpecFuser)
    assert fuser.score_fuser.spec.kind == "rrf"


def test_folds_weigh_the_column_less_than_those_who_saw_the_queries_would() -> None:
    # no vector here has to do with any grade: what a scorer knows of train queries it can only remember
    train = training_data("train")
    folds = fit_features(config(num_folds=2, joint=REMEMBERING), train, training_data("validation"), seed=7)
    assert isinstance(folds.score_fuser, SpecFuser)
    assert folds.score_fuser.spec.weights[JOINT] < 0.2


def test_lessons_without_vectors_are_refused() -> None:
    with pytest.raises(ConfigError, match="fusion kind average reads the vectors of products; give the training data"):
        fit_features(config(), replace(training_data("train"), products=None), training_data("validation"), seed=7)


def test_it_opens_only_over_a_catalogs_vectors(tmp_path: Path) -> None:
    fitted("average").save(tmp_path)
    with pytest.raises(ConfigError, match="fusion kind average reads the vectors of products; open it with them"):
        open_fuser(tmp_path)


def test_what_weighs_nothing_drops_nobody() -> None:
    fuser = fit_features(config(use="only"), training_data("train"), training_data("validation"), seed=7)
    one = training_data("test").candidates[0]
    assert fuser.fuse(one).rows_C.tolist() == one.rows_C.tolist()
    assert np.isfinite(fuser.fuse(one).scores_CR).tolist() == np.isfinite(one.scores_CR).tolist()


@pytest.mark.slow
def test_fold_by_fold_the_scorers_serve_twice_and_no_fold_saw_its_queries() -> None:
    train = training_data("train")
    fold_of_each = [fold_of(name, 3) for name in train.query_ids]
    turned = replace(
        train, grades=[3.0 - g if fold == 1 else g for g, fold in zip(train.grades, fold_of_each, strict=True)]
    )
    checked = select_queries(
        train, [at for at, fold in enumerate(fold_of_each) if fold == 2]
    )  # remembering them looks like learning
    crossed = config(use="only", joint=REMEMBERING)
    before, after = (cross_fit(crossed, each, checked, num_folds=3, seed=7) for each in (train, turned))
    assert fused_bits(before.folds[1]) == fused_bits(after.folds[1])
    assert fused_bits(before.folds[0]) != fused_bits(after.folds[0])
    assert fused_bits(before.full) == fused_bits(fit_features(crossed, train, checked, seed=7))


def fused_bits(fuser: Fuser) -> bytes:
    fused = [fuser.fuse(one).fused_C for one in training_data("test").candidates]
    return b"".join(fused_C.tobytes() for fused_C in fused if fused_C is not None)
