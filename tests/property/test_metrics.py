"""Properties of metrics and intervals: definitions, ideal orders, positions below k, symmetry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.evaluation.metrics import METRICS, metric_values, ndcg_at_k
from intarsia.evaluation.qrels import Qrels, grade_orders
from intarsia.evaluation.significance import bootstrap_mean, bootstrap_means, paired_bootstrap
from tests.oracles import metrics_by_definition, ndcg_by_definition

DEPTH = 12

Case = tuple[list[int], dict[int, float]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """An order of rows, and grades: some rows are not in the order, some are not judged."""
    order = draw(st.lists(st.integers(0, 30), unique=True, max_size=20))
    grades = draw(st.dictionaries(st.integers(0, 30), st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0]), max_size=15))
    return order, grades


def qrels_of(grades: dict[int, float]) -> Qrels:
    rows = sorted(grades)
    return Qrels(rows_J=np.array(rows, np.int64), grades_J=np.array([grades[row] for row in rows], np.float64))


def values(name: str, cases_drawn: list[Case]) -> list[float]:
    orders = [np.array(order, np.int64) for order, _ in cases_drawn]
    return metric_values(name, grade_orders(orders, [qrels_of(grades) for _, grades in cases_drawn], DEPTH)).tolist()


@given(st.lists(cases(), min_size=1, max_size=4), st.integers(1, DEPTH))
def test_every_metric_equals_its_definition(cases_drawn: list[Case], k: int) -> None:
    expected: dict[str, list[float]] = {kind: [] for kind in METRICS}
    for order, grades in cases_drawn:
        expected["ndcg"].append(ndcg_by_definition(order, grades, k))
        positive = any(grade > 0 for grade in grades.values())
        metrics = metrics_by_definition(order, grades, k) if positive else dict.fromkeys(METRICS, float("nan"))
        for kind in METRICS.keys() - {"ndcg"}:
            expected[kind].append(metrics[kind])
    for kind, wanted in expected.items():
        assert values(f"{kind}@{k}", cases_drawn) == pytest.approx(wanted, nan_ok=True), kind


@given(cases())
def test_the_ideal_order_has_ndcg_one(case: Case) -> None:
    grades = case[1] | {31: 2.0}
    ideal = sorted(grades, key=lambda row: -grades[row])
    assert values(f"ndcg@{DEPTH}", [(ideal, grades)]) == [1.0]


@given(cases(), st.integers(1, DEPTH), st.randoms(use_true_random=False))
def test_positions_below_k_do_not_change_a_metric(case: Case, k: int, random: object) -> None:
    order, grades = case
    below = order[k:]
    random.shuffle(below)  # type: ignore[attr-defined]
    for kind in METRICS:
        name = f"{kind}@{k}"
        assert values(name, [case]) == pytest.approx(values(name, [(order[:k] + below, grades)]), nan_ok=True)


@given(cases())
def test_moving_better_grades_up_never_lowers_ndcg(case: Case) -> None:
    order, grades = case
    graded = grade_orders([np.array(order, np.int64)], [qrels_of(grades)], DEPTH)
    best_first = sorted(order[:DEPTH], key=lambda row: -grades.get(row, 0.0))
    sorted_up = grade_orders([np.array(best_first, np.int64)], [qrels_of(grades)], DEPTH)
    before, after = ndcg_at_k(graded, DEPTH)[0], ndcg_at_k(sorted_up, DEPTH)[0]
    assert math.isnan(before) or after >= before - 1e-12


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=40), st.integers(0, 99))
def test_swapping_the_systems_mirrors_the_interval(drawn: list[float], seed: int) -> None:
    a_Q = np.array(drawn)
    b_Q = a_Q[::-1] * 0.5 if not np.isnan(a_Q).any() else a_Q * 0.5
    forth = paired_bootstrap(a_Q, b_Q, seed=seed, num_resamples=200).difference
    back = paired_bootstrap(b_Q, a_Q, seed=seed, num_resamples=200).difference
    assert forth.num_queries == np.count_nonzero(~np.isnan(a_Q))
    if forth.num_queries:
        assert (forth.mean, forth.low, forth.high) == pytest.approx((-back.mean, -back.high, -back.low), abs=1e-12)
        assert forth.low <= forth.high
        assert min(a_Q[~np.isnan(a_Q)]) - 1e-9 <= bootstrap_mean(a_Q, seed=seed, num_resamples=200).low


@given(st.integers(2, 30), st.integers(0, 99))
def test_columns_have_the_intervals_of_separate_bootstraps(num: int, seed: int) -> None:
    values_QM = np.random.default_rng(seed).random((num, 3))
    together = bootstrap_means(values_QM, seed=seed, num_resamples=100)
    for column, interval in zip(values_QM.T, together, strict=True):
        separate = bootstrap_mean(column, seed=seed, num_resamples=100)
        assert (interval.low, interval.mean, interval.high) == pytest.approx(
            (separate.low, separate.mean, separate.high)
        )
