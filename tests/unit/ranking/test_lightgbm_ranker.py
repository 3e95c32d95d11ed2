"""The ranker that serves: row by row, of one feature set, explained to the sum; and the fit behind it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from intarsia.config import build
from intarsia.errors import ArtifactError, ConfigError, DataError, ReleaseMismatch
from intarsia.ranking.fit_metrics import spread_within, weighted_mean_ndcg
from intarsia.ranking.lambdamart import Fit, LambdaMartConfig, fit_lambdamart
from intarsia.ranking.lightgbm_ranker import HEADER, MODEL, LightGbmRanker, save_ranker
from intarsia.ranking.rows import RankingRows
from intarsia.records.feature_matrix import FeatureMatrix
from tests.graded_rows import graded_rows

NAMES = ("useful", "noise", "other")
SMALL = LambdaMartConfig(num_rounds=30, early_stopping_rounds=10, min_data_in_leaf=5, lambda_l2=0.0)


def drawn(seed: int, num_queries: int = 40) -> RankingRows:
    """With holes in every feature."""
    rng = np.random.default_rng(seed)
    rows = graded_rows(rng, NAMES, num_queries=num_queries)
    rows.values_nF[rng.random(rows.values_nF.shape) < 0.1] = np.nan
    return rows


@pytest.fixture(scope="module")
def fit() -> Fit:
    return fit_lambdamart(drawn(1), drawn(2), [SMALL])[0]


@pytest.fixture(scope="module")
def ranker(fit: Fit) -> LightGbmRanker:
    return LightGbmRanker(fit.model_text, NAMES, "features-1")


def matrix(rows: RankingRows, fingerprint: str = "features-1", names: tuple[str, ...] = NAMES) -> FeatureMatrix:
    return FeatureMatrix(values_nF=rows.values_nF.astype(np.float32), names=names, fingerprint=fingerprint)


def test_it_learns_what_tells_the_grade(fit: Fit, ranker: LightGbmRanker) -> None:
    assert min(fit.validation_ndcg, max(fit.curve)) > 0.8
    shares = ranker.importances()
    assert next(iter(shares)) == "useful"
    assert sum(shares.values()) == pytest.approx(1)
    held = drawn(3)
    scores = ranker.score(matrix(held))
    assert np.corrcoef(scores, held.labels_n)[0, 1] > 0.6


def test_with_pairs_alone_the_figure_is_lightgbms(fit: Fit) -> None:
    alone = fit_lambdamart(drawn(1), drawn(2), [replace(SMALL, pointwise_share=0.0)])[0]
    assert alone.curve == fit.curve
    assert (alone.pointwise_trees, alone.validation_ndcg) == (0, pytest.approx(max(alone.curve)))


def test_each_part_spreads_by_its_share(fit: Fit) -> None:
    """Part by part: the first trees order pairs, those behind them learned the gains."""
    rows = drawn(2)
    booster = lightgbm.Booster(model_str=fit.model_text)
    assert booster.num_trees() == fit.best_iteration + fit.pointwise_trees
    pairs_n, points_n = (
        np.asarray(booster.predict(rows.values_nF, raw_score=True, start_iteration=start, num_iteration=number))
        for start, number in ((0, fit.best_iteration), (fit.best_iteration, fit.pointwise_trees))
    )
    assert spread_within(points_n, rows) == pytest.approx(spread_within(pairs_n, rows), rel=1e-4)
    third = fit_lambdamart(drawn(1), rows, [replace(SMALL, pointwise_share=1 / 3)])[0]
    shared_n = np.asarray(lightgbm.Booster(model_str=third.model_text).predict(rows.values_nF, raw_score=True))
    assert np.allclose(shared_n, pairs_n + points_n / 2, atol=1e-5)


def test_nothing_to_split_leaves_a_part_that_orders_nothing() -> None:
    flat = replace(drawn(1), values_nF=np.zeros((480, 3), np.float32))
    found = fit_lambdamart(flat, drawn(2), [SMALL])[0]
    scores = LightGbmRanker(found.model_text, NAMES, "features-1").score(matrix(drawn(2)))
    assert len(np.unique(scores)) == 1


def test_equal_inputs_give_equal_trees(fit: Fit) -> None:
    again = fit_lambdamart(drawn(1), drawn(2), [SMALL, SMALL])
    assert {one.model_text for one in (*again, fit)} == {fit.model_text}
    assert "machines" not in fit.model_text


def test_a_rows_score_does_not_depend_on_its_neighbours(ranker: LightGbmRanker) -> None:
    whole = matrix(drawn(4))
    scores = ranker.score(whole)
    assert scores.dtype == np.float32
    order = np.random.default_rng(0).permutation(len(scores))
    permuted = FeatureMatrix(values_nF=whole.values_nF[order].copy(), names=NAMES, fingerprint="features-1")
    assert ranker.score(permuted).tobytes() == scores[order].tobytes()
    for n in (0, 7, 101):
        alone = FeatureMatrix(values_nF=whole.values_nF[n : n + 1].copy(), names=NAMES, fingerprint="features-1")
        assert ranker.score(alone).tobytes() == scores[n : n + 1].tobytes()


def test_contributions_sum_to_the_score(ranker: LightGbmRanker) -> None:
    found = matrix(drawn(5))
    shares, scores = ranker.contributions(found), ranker.score(found).astype(np.float64)
    assert shares.shape == (len(scores), len(NAMES) + 1)
    assert np.all(np.abs(shares.sum(axis=1) - scores) <= 1e-6 * np.maximum(1, np.abs(scores)))


def test_no_rows_are_legal(ranker: LightGbmRanker) -> None:
    none = FeatureMatrix(values_nF=np.empty((0, 3), np.float32), names=NAMES, fingerprint="features-1")
    assert ranker.score(none).shape == (0,)
    assert ranker.contributions(none).shape == (0, 4)


def test_a_matrix_of_other_features_is_refused(ranker: LightGbmRanker) -> None:
    with pytest.raises(ReleaseMismatch, match="the features are features-2, the ranker was trained on features-1"):
        ranker.score(matrix(drawn(1), fingerprint="features-2"))
    with pytest.raises(ReleaseMismatch, match="the matrix has features noise, useful, other, the ranker reads useful"):
        ranker.contributions(matrix(drawn(1), names=("noise", "useful", "other")))


def test_it_is_the_same_after_saving(fit: Fit, ranker: LightGbmRanker, tmp_path: Path) -> None:
    save_ranker(tmp_path, fit.model_text, NAMES, "features-1", {"note": 1})
    opened = LightGbmRanker.open(tmp_path, feature_fingerprint="features-1")
    assert (opened.feature_fingerprint, opened.feature_names) == ("features-1", NAMES)
    assert opened.score(matrix(drawn(6))).tobytes() == ranker.score(matrix(drawn(6))).tobytes()
    with pytest.raises(ReleaseMismatch, match="run build_training_rows and train_ranker again"):
        LightGbmRanker.open(tmp_path, feature_fingerprint="features-2")


FUSED_NAMES = ("useful", "noise", "fused_z")


def fused_rows(seed: int, num_queries: int = 40) -> RankingRows:
    return replace(drawn(seed, num_queries), feature_names=FUSED_NAMES)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_trees_begin_at_the_fused_score(share: float, tmp_path: Path) -> None:
    config = replace(SMALL, prior_weight=0.5, pointwise_share=share)
    found = fit_lambdamart(fused_rows(1), fused_rows(2), [config])[0]
    assert (found.prior_weight == 0.5) == (share == 0), "trees that learn the gains begin at a slope of their own"
    trees = LightGbmRanker(found.model_text, FUSED_NAMES, "features-1")
    save_ranker(tmp_path, found.model_text, FUSED_NAMES, "features-1", {}, prior_weight=found.prior_weight)
    ranker = LightGbmRanker.open(tmp_path)
    asked = matrix(fused_rows(3), names=FUSED_NAMES)
    fused_n = np.nan_to_num(asked.values_nF[:, 2].astype(np.float64))  # one that is not known counts 0
    assert np.allclose(ranker.score(asked), trees.score(asked) + found.prior_weight * fused_n, atol=1e-6)
    assert np.allclose(ranker.contributions(asked).sum(axis=1), ranker.score(asked), atol=1e-5)
    assert found.model_text != fit_lambdamart(fused_rows(1), fused_rows(2), [SMALL])[0].model_text
    asked_again = fused_rows(2)
    figure = weighted_mean_ndcg(ranker.score(matrix(asked_again, names=FUSED_NAMES)), asked_again, config.label_gain)
    assert figure == pytest.approx(found.validation_ndcg), "the figure is of what serves"


def test_a_prior_that_is_right_leaves_the_trees_less_to_do() -> None:
    """The first tree's validation figure is that of the prior and one tree: the fused score tells the grade here."""
    names = ("fused_z", "noise", "other")
    train, validation = (replace(drawn(seed), feature_names=names) for seed in (1, 2))
    with_prior, without = (
        fit_lambdamart(train, validation, [replace(SMALL, num_rounds=1, prior_weight=weight)])[0]
        for weight in (10.0, 0.0)
    )
    assert with_prior.curve[0] > without.curve[0]


def test_features_without_a_fused_score_have_no_prior(fit: Fit) -> None:
    ranker = LightGbmRanker(fit.model_text, NAMES, "features-1", prior_weight=0.5)
    asked = matrix(drawn(7))
    assert ranker.score(asked).tobytes() == LightGbmRanker(fit.model_text, NAMES, "features-1").score(asked).tobytes()


def test_a_torn_or_foreign_artefact_is_refused(fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"ranker\.json is missing; run train_ranker"):
        LightGbmRanker.open(tmp_path)
    save_ranker(tmp_path, fit.model_text, NAMES, "features-1", {})
    (tmp_path / MODEL).write_text(fit.model_text + "\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"is not the model that ranker\.json describes"):
        LightGbmRanker.open(tmp_path)
    header = json.loads((tmp_path / HEADER).read_text(encoding="utf-8"))
    (tmp_path / HEADER).write_text(json.dumps(header | {"format": 0}), encoding="utf-8")
    with pytest.raises(ArtifactError, match="is of format 0, this code reads 2"):
        LightGbmRanker.open(tmp_path)


def test_a_model_of_other_names_is_refused(fit: Fit) -> None:
    with pytest.raises(ArtifactError, match="the model reads features useful, noise, other, its header names a, b, c"):
        LightGbmRanker(fit.model_text, ("a", "b", "c"), "x")


def test_a_grade_without_a_gain_is_refused() -> None:
    config = LambdaMartConfig(label_gain=(0.0, 1.0))
    with pytest.raises(DataError, match=r"label is 3; allowed: 0\.\.1\. Fix: give label_gain one gain per grade"):
        fit_lambdamart(drawn(1), drawn(2), [config])


def test_nothing_to_learn_from_is_said_by_split() -> None:
    with pytest.raises(
        DataError, match=r"no validation query with two different labels.*judge more validation queries"
    ):
        fit_lambdamart(drawn(1), drawn(2).of_queries([]), [SMALL])


def test_without_early_stopping_every_tree_is_kept() -> None:
    found = fit_lambdamart(drawn(1), drawn(2), [LambdaMartConfig(num_rounds=4, early_stopping_rounds=0)])[0]
    assert found.best_iteration == len(found.curve) == 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_rounds": 0}, "num_rounds is 0; allowed: 1 or more"),
        ({"num_leaves": 1}, "num_leaves is 1 and max_bin 127; allowed: 2 or more"),
        ({"feature_fraction": 0.0}, r"feature_fraction is 0\.0; allowed: above 0, at most 1"),
        ({"pointwise_rounds": 0}, "pointwise_rounds is 0; allowed: 1 or more"),
        ({"pointwise_learning_rate": 0.0}, r"pointwise_learning_rate is 0\.0; allowed: above 0, at most 1"),
        ({"pointwise_share": 1.0}, r"pointwise_share is 1\.0; allowed: 0 or more, below 1"),
        ({"lambda_l2": -1.0}, r"lambda_l2 is -1\.0; allowed: 0 or more"),
        ({"label_gain": [0.0, 1.0, 1.0]}, "label_gain is .*; allowed: two or more, rising"),
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(LambdaMartConfig, wrong)
