from __future__ import annotations

import numpy as np
import pytest

from intarsia.evaluation.significance import bootstrap_mean, paired_bootstrap

NAN = float("nan")


def test_equal_systems_have_no_difference() -> None:
    a_Q = np.array([0.1, 0.9, 0.4])
    same = paired_bootstrap(a_Q, a_Q, seed=1)
    assert (same.verdict, same.difference.low, same.difference.high) == ("no difference", 0.0, 0.0)


def test_a_gain_on_every_query_is_better_and_its_inverse_worse(rng: np.random.Generator) -> None:
    a_Q = rng.random(60)
    assert paired_bootstrap(a_Q + 0.1, a_Q, seed=1).verdict == "better"
    assert paired_bootstrap(a_Q, a_Q + 0.1, seed=1).verdict == "worse"


def test_a_gain_on_one_query_only_is_no_difference() -> None:
    a_Q, b_Q = np.zeros(50), np.zeros(50)
    a_Q[7] = 1.0
    assert paired_bootstrap(a_Q, b_Q, seed=1).verdict == "no difference"


def test_the_interval_is_normal_for_many_queries(rng: np.random.Generator) -> None:
    values_Q = rng.normal(0.5, 0.2, 2000)
    interval = bootstrap_mean(values_Q, seed=3)
    half = 1.96 * values_Q.std() / np.sqrt(2000)
    assert (interval.low, interval.high) == pytest.approx(
        (values_Q.mean() - half, values_Q.mean() + half), abs=half / 20
    )


def test_the_same_seed_gives_the_same_interval(rng: np.random.Generator) -> None:
    values_Q = rng.random(40)
    assert bootstrap_mean(values_Q, seed=3) == bootstrap_mean(values_Q, seed=3)
    assert bootstrap_mean(values_Q, seed=3) != bootstrap_mean(values_Q, seed=4)


def test_queries_without_a_value_are_left_out() -> None:
    assert bootstrap_mean(np.array([NAN, 0.5, NAN]), seed=1).num_queries == 1
    none = bootstrap_mean(np.array([NAN, NAN]), seed=1)
    assert none.num_queries == 0
    assert np.isnan(none.mean)


def test_different_queries_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match=r"1 queries against 2, or different ones; a paired comparison needs both"):
        paired_bootstrap(np.array([NAN, 0.5]), np.array([0.2, 0.5]), seed=1)


@pytest.mark.parametrize(("num", "confidence"), [(0, 0.95), (100, 1.0)])
def test_a_bootstrap_without_resamples_or_confidence_is_refused(num: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=rf"{num} resamples at confidence {confidence}; allowed: 1 or more"):
        bootstrap_mean(np.array([0.5]), seed=1, num_resamples=num, confidence=confidence)
