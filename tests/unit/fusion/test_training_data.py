"""nDCG of training data, and the fits of column weights."""

from __future__ import annotations

import math

import numpy as np
import pytest

from intarsia.evaluation.qrels import Qrels
from intarsia.experiments.fusion_objective import PackedCandidates
from intarsia.fusion.batch import pack
from intarsia.fusion.fuser import fuse_batch
from intarsia.fusion.score.column_weights import ascend_ndcg, fit_listwise, grid_points
from intarsia.fusion.spec import FusionSpec
from intarsia.fusion.training_data import ListGains, PackedTrainingData, select_queries
from intarsia.maths.grouped import Groups
from intarsia.maths.ndcg import mean_known
from tests.unit.fusion.fusion_cases import training_data


def test_ndcg_of_training_data_equals_that_of_evaluation() -> None:
    train = training_data("train")
    qrels = [
        Qrels(rows_J=candidates.rows_C, grades_J=grades)
        for candidates, grades in zip(train.candidates, train.grades, strict=True)
    ]
    spec = FusionSpec(kind="rrf")
    expected_Q = PackedCandidates.of(train.candidates, qrels).ndcg(spec, 5)
    packed = PackedTrainingData.of(train)
    assert packed.ndcg_G(fuse_batch(spec, packed.batch), 5) == pytest.approx(expected_Q)


def test_a_relevant_product_that_was_not_retrieved_lowers_ndcg() -> None:
    lists = ListGains(Groups(np.array([0, 2])), np.array([0.0, 3.0]), np.array([3.0 + 7.0 / math.log2(3)]), 10)
    assert lists.ndcg_G(np.array([1.0, 0.0])) == pytest.approx([3.0 / math.log2(3) / (3.0 + 7.0 / math.log2(3))])


def test_a_query_without_a_relevant_product_is_not_in_the_mean() -> None:
    lists = ListGains(Groups(np.array([0, 1, 2])), np.array([1.0, 0.0]), np.array([1.0, 0.0]), 10)
    ndcg_G = lists.ndcg_G(np.array([0.0, 0.0]))
    assert np.isnan(ndcg_G).tolist() == [False, True]
    assert mean_known(ndcg_G, without_any=0.0) == 1.0
    assert mean_known(ndcg_G[1:], without_any=0.0) == 0.0


def test_a_query_may_be_selected_twice() -> None:
    twice = select_queries(training_data("train"), [3, 3, 0])
    assert twice.query_ids == ("train-3", "train-3", "train-0")
    assert pack(twice.candidates).groups.num_groups == 3


def test_coordinate_ascent_moves_between_the_points_of_the_grid() -> None:
    # one list of 3: the first candidate is best only if the first column has a weight of 0.6 .. 0.625
    columns_Mn = np.array([[1.0, 1.6, 0.0], [1.0, 0.0, 2.5]])
    lists = ListGains(Groups(np.array([0, 3])), np.array([1.0, 0.0, 0.0]), np.array([1.0]), 1)
    weights, ndcg = ascend_ndcg(columns_Mn, lists, grid_points(2, 1))
    assert ndcg == 1.0
    assert 1.6 * weights[0] <= 1.0
    assert 2.5 * weights[1] <= 1.0


def test_a_listwise_fit_recovers_the_weights_behind_the_gains(rng: np.random.Generator) -> None:
    columns_Fn = rng.normal(size=(2, 400))
    groups = Groups(np.arange(0, 401, 20, dtype=np.int64))
    gains_n = np.exp(np.array([1.5, -0.5]) @ columns_Fn)
    options = {"penalties_F": np.zeros(2), "start_F": np.ones(2)}
    free_F = fit_listwise(columns_Fn, groups, gains_n, lower_bounds_F=np.full(2, -np.inf), **options)
    assert free_F == pytest.approx([1.5, -0.5], abs=1e-3)
    bound_F = fit_listwise(columns_Fn, groups, gains_n, lower_bounds_F=np.zeros(2), **options)
    assert bound_F[1] == 0.0


def test_lists_without_gain_do_not_affect_a_listwise_fit(rng: np.random.Generator) -> None:
    columns_Fn = rng.normal(size=(1, 10))
    settings = {"penalties_F": np.full(1, 0.01), "lower_bounds_F": np.full(1, -np.inf), "start_F": np.zeros(1)}
    gains_n = np.array([1.0, 0.0, 0.0, 2.0, 0.0])
    single_F = fit_listwise(columns_Fn[:, :5], Groups(np.array([0, 5])), gains_n, **settings)
    both_F = fit_listwise(columns_Fn, Groups(np.array([0, 5, 10])), np.append(gains_n, np.zeros(5)), **settings)
    assert both_F == pytest.approx(single_F, abs=1e-6)
