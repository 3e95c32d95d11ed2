"""The linear model and the init score: weights, row independence, and their part in fits and contributions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intarsia.errors import DataError
from intarsia.ranking.lambdamart import LambdaMartConfig, fit_init_score, fit_lambdamart
from intarsia.ranking.lightgbm_ranker import LightGbmRanker, save_ranker
from intarsia.ranking.linear import InitScore, LinearModel, fit_linear
from intarsia.ranking.rows import RankingRows, weighted_mean_ndcg
from intarsia.records.feature_matrix import FeatureMatrix
from tests.graded_rows import graded_rows

NAMES = ("useful", "constant", "fused_z")
GAINS = (0.0, 1.0, 3.0, 7.0)
SMALL = LambdaMartConfig(num_rounds=15, pointwise_rounds=15, min_data_in_leaf=5, linear_weight=0.5, linear_l2=1.0)


def drawn(seed: int) -> RankingRows:
    """The first feature is missing in every tenth row, the second is constant."""
    rng = np.random.default_rng(seed)
    rows = graded_rows(rng, NAMES, num_queries=30)
    rows.values_nF[:, 1] = 4.0
    rows.values_nF[rng.random(len(rows.labels_n)) < 0.1, 0] = np.nan
    return rows


def matrix(values_nF: np.ndarray) -> FeatureMatrix:
    return FeatureMatrix(values_nF=values_nF, names=NAMES, fingerprint="f")


def one_pair(weights: tuple[float, float] = (1.0, 1.0)) -> RankingRows:
    """A query of two rows; the better one is 2 above the other in the only feature that differs."""
    return RankingRows(
        values_nF=np.array([[1, 4, 0], [-1, 4, 0]], np.float32),
        labels_n=np.array([3, 0], np.int32),
        weights_n=np.array(weights, np.float32),
        offsets_G=np.array([0, 2]),
        feature_names=NAMES,
    )


def test_the_weight_of_one_pair_minimises_loss_plus_penalty() -> None:
    """The feature is 1 and -1, so its spread is 1: log(1 + e^-2w) + l2 w^2 / 2 is least where 2 / (1 + e^2w) = l2 w."""
    slope = fit_linear(one_pair(), GAINS, 0.5).slopes_F[0]
    assert 2 / (1 + np.exp(2 * slope)) == pytest.approx(0.5 * slope, rel=1e-3)


def test_a_query_has_the_weight_of_its_rows() -> None:
    """Twice the weight with twice the penalty is the same problem."""
    twice = fit_linear(one_pair((2.0, 2.0)), GAINS, 1.0)
    assert twice.slopes_F[0] == pytest.approx(fit_linear(one_pair(), GAINS, 0.5).slopes_F[0], rel=1e-3)


def test_a_useful_feature_has_weight_and_a_constant_one_has_none() -> None:
    linear = fit_linear(drawn(1), GAINS, 1.0)
    assert linear.slopes_F[0] > 5 * abs(linear.slopes_F[2])
    assert linear.slopes_F[1] == 0
    assert linear.missing_F[0] != 0 and linear.missing_F[1:] == (0.0, 0.0), "only a feature that is missing somewhere"


def test_more_penalty_means_smaller_weights() -> None:
    light, heavy = (fit_linear(drawn(1), GAINS, l2).slopes_F[0] for l2 in (1.0, 100.0))
    assert 0 < heavy < light


def test_a_score_is_the_sum_of_clipped_distances_and_missing_weights() -> None:
    linear = LinearModel(means_F=(1.0, 0.0), limits_F=(2.0, 9.0), slopes_F=(3.0, 10.0), missing_F=(0.5, 0.0))
    values = np.array([[2, 1], [100, 0], [np.nan, -1]])
    assert linear.scores(values).tolist() == [3.0 + 10.0, 6.0, 0.5 - 10.0]
    assert linear.times(2.0).scores(values).tolist() == [26.0, 12.0, -19.0]
    assert linear.plus(linear.times(2.0)).scores(values).tolist() == [39.0, 18.0, -28.5]
    assert LinearModel.from_jsonable(json.loads(json.dumps(linear.to_jsonable()))) == linear


def test_an_init_score_adds_the_weighted_fused_score_and_the_linear_model() -> None:
    linear = LinearModel(means_F=(0.0, 0.0), limits_F=(9.0, 9.0), slopes_F=(3.0, 0.0), missing_F=(0.0, 0.0))
    values, names = np.array([[1.0, 2.0], [0.0, np.nan]]), ("a", "fused_z")
    init_score = InitScore(prior_weight=0.5, linear=linear)
    assert init_score.scores(values, names).tolist() == [3.0 + 1.0, 0.0]
    assert init_score.contributions(values, names).tolist() == [[3.0, 1.0], [0.0, 0.0]]
    assert init_score.times(2.0).plus(init_score).scores(values, names).tolist() == [12.0, 0.0]
    assert init_score.scores(values, ("a", "b")).tolist() == [3.0, 0.0], "without the fused score's column"
    assert InitScore().scores(values, names).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_saved_model_contains_the_linear_model(share: float, tmp_path: Path) -> None:
    config = replace(SMALL, pointwise_share=share)
    validation = drawn(2)
    fit = fit_lambdamart(drawn(1), validation, [config])[0]
    assert fit.model.init_score.linear is not None
    save_ranker(tmp_path, fit.model, NAMES, "f", {})
    ranker = LightGbmRanker.open(tmp_path)
    ndcg = weighted_mean_ndcg(ranker.score(matrix(validation.values_nF)), validation, config.label_gain)
    assert ndcg == pytest.approx(fit.validation_ndcg), "the reported figure is that of the saved model"
    values = drawn(3).values_nF
    scores = ranker.score(matrix(values))
    assert np.allclose(ranker.contributions(matrix(values)).sum(axis=1), scores, atol=1e-5)
    for n in range(20):
        assert ranker.score(matrix(values[n : n + 1].copy())).tobytes() == scores[n : n + 1].tobytes()


def test_the_init_score_is_shared_between_linear_model_and_fused_score() -> None:
    init_score = fit_init_score(drawn(1), replace(SMALL, linear_weight=0.25, prior_weight=2.0))
    whole = fit_linear(drawn(1), GAINS, SMALL.linear_l2)
    assert init_score.prior_weight == 1.5
    assert init_score.linear == whole.times(0.25)
    assert fit_init_score(drawn(1), replace(SMALL, linear_weight=0.0, prior_weight=2.0)).linear is None


def test_a_good_linear_model_improves_the_first_tree() -> None:
    with_linear, without = (
        fit_lambdamart(drawn(1), drawn(2), [replace(SMALL, num_rounds=1, linear_weight=weight, pointwise_share=0.0)])[0]
        for weight in (1.0, 0.0)
    )
    assert with_linear.curve[0] > without.curve[0]


def test_a_shard_uses_the_init_score_it_is_given() -> None:
    whole, shard, config = drawn(1), drawn(1).of_queries(range(10)), replace(SMALL, pointwise_share=0.0)
    given = fit_lambdamart(shard, drawn(2), [config], init_scores=[fit_init_score(whole, SMALL)])[0].model.init_score
    own = fit_lambdamart(shard, drawn(2), [config])[0].model.init_score
    assert given == fit_init_score(whole, SMALL)
    assert own == fit_init_score(shard, SMALL)
    assert own != given


def test_no_informative_query_is_refused_before_the_linear_fit() -> None:
    with pytest.raises(DataError, match="no train query with two different labels"):
        fit_init_score(drawn(1).of_queries([]), SMALL)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"linear_weight": 1.5}, r"linear_weight is 1\.5; allowed: 0 to 1"),
        ({"linear_l2": 0.0}, r"linear_l2 is 0\.0; allowed: above 0"),
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **wrong)


def test_a_rarely_missing_feature_is_scored_as_it_was_fitted() -> None:
    """One of 100 rows lacks the feature and is the better one.

    Its mark, 1 / 0.0995, is clipped to 5, so 25 / (1 + e^jump) = l2 jump.
    """
    values = np.full((100, 3), 4.0, np.float32)
    values[0, 0] = np.nan
    rows = RankingRows(
        values_nF=values,
        labels_n=np.array([3] + [0] * 99, np.int32),
        weights_n=np.ones(100, np.float32),
        offsets_G=np.array([0, 100]),
        feature_names=NAMES,
    )
    scores = fit_linear(rows, GAINS, 1.0).scores(values)
    jump = scores[0] - scores[1]
    assert 25 / (1 + np.exp(jump)) == pytest.approx(jump, rel=1e-3)
