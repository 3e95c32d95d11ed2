"""Two models as one: its scores, its shares and its importances are those of both."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from intarsia.ranking.model_sum import summed

WEIGHT = 0.37


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(600, 4))


def fitted(values: np.ndarray, target: np.ndarray, objective: str, trees: int) -> lightgbm.Booster:
    data = lightgbm.Dataset(values, label=target, group=[20] * 30)
    return lightgbm.train({"objective": objective, "num_threads": 1, "verbosity": -1}, data, trees)


@pytest.fixture(scope="module")
def pairs(values: np.ndarray) -> lightgbm.Booster:
    return fitted(values, np.clip(np.round(values[:, 0] + 1), 0, 3), "lambdarank", 7)


@pytest.fixture(scope="module")
def points(values: np.ndarray) -> lightgbm.Booster:
    return fitted(values, values[:, 1] + 5, "regression", 5)


def predicted(text: str, values: np.ndarray, **options: bool) -> np.ndarray:
    return np.asarray(lightgbm.Booster(model_str=text).predict(values, raw_score=True, **options))


def test_scores_and_shares_add_up(pairs: lightgbm.Booster, points: lightgbm.Booster, values: np.ndarray) -> None:
    values = np.where(np.random.default_rng(4).random(values.shape) < 0.1, np.nan, values)
    both = summed(pairs.model_to_string(), points.model_to_string(), WEIGHT)
    assert lightgbm.Booster(model_str=both).num_trees() == 12
    for options in ({}, {"pred_contrib": True}):
        ours, first, second = (
            predicted(text, values, **options) for text in (both, pairs.model_to_string(), points.model_to_string())
        )
        assert np.allclose(ours, first + WEIGHT * second, rtol=0, atol=1e-12)


def test_importances_count_both_alike(pairs: lightgbm.Booster, points: lightgbm.Booster) -> None:
    both = lightgbm.Booster(model_str=summed(pairs.model_to_string(), points.model_to_string(), WEIGHT))
    found, first, second = (one.feature_importance(importance_type="gain") for one in (both, pairs, points))
    assert np.allclose(found / found.sum(), (first / first.sum() + second / second.sum()) / 2, atol=1e-4)


def test_it_is_summed_again_like_any_other(
    pairs: lightgbm.Booster, points: lightgbm.Booster, values: np.ndarray
) -> None:
    both = summed(pairs.model_to_string(), points.model_to_string(), 1.0)
    assert lightgbm.Booster(model_str=both).model_to_string() == both
    assert both.count("[objective: lambdarank]") == 1
    back = summed(both, points.model_to_string(), -1.0)
    assert np.allclose(predicted(back, values), predicted(pairs.model_to_string(), values), atol=1e-12)


def test_a_model_of_one_value_moves_every_score_alike(pairs: lightgbm.Booster, values: np.ndarray) -> None:
    flat = fitted(values, np.full(600, 2.0), "regression", 5).model_to_string()
    moved = predicted(summed(pairs.model_to_string(), flat, 3.0), values)
    assert np.allclose(moved, predicted(pairs.model_to_string(), values) + 6)
