"""The laws of measuring: metrics equal their definitions, ideal orders are perfect, nothing below k matters, intervals hold their mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.evaluation.significance import bootstrap_mean, bootstrap_means, paired_bootstrap
from intarsia.evaluation.metrics import METRICS, metric_values, ndcg_at_k
from intarsia.evaluation.qrels import Qrels, grade_orders
from tests.oracles import found_by_definition, ndcg_by_definition

DEPTH = 12

Case = tuple[list[int], dict[int, float]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """An order of rows and the grades of some, among them rows that the order lacks and rows that nobody judged."""
    order = draw(st.lists(st.integers(0, 30), unique=True, max_size=20))
    grades = draw(st.dictionaries(st.integers(0, 30), st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0]), max_size=15))
    return order, grades


def qrels_of(grades: dict[int, float]) -> Qrels:
    rows = sorted(grades)
    return Qrels(rows_J=np.array(rows, np.int64), grades_J=np.array([grades[row] for row in rows], np.float64))


def values(name: str, several: list[Case]) -> list[float]:
    orders = [np.array(order, np.int64) for order, _ in several]
    return metric_values(name, grade_orders(orders, [qrels_of(grades) for _, grades in several], DEPTH)).tolist()


@given(st.lists(cases(), min_size=1, max_size=4), st.integers(1, DEPTH))
def test_every_metric_is_what_its_definition_says(several: list[Case], k: int) -> None:
    expected: dict[str, list[float]] = {kind: [] for kind in METRICS}
    for order, grades in several:
        expected["ndcg"].append(ndcg_by_definition(order, grades, k))
        positive = any(grade > 0 for grade in grades.values())
        found = found_by_definition(order, grades, k) if positive else dict.fromkeys(METRICS, float("nan"))
        for kind in METRICS.keys() - {"ndcg"}:
            expected[kind].append(found[kind])
    for kind, wanted in expected.items():
        assert values(f"{kind}@{k}", several) == pytest.approx(wanted, nan_ok=True), kind


@given(cases())
def test_the_ideal_order_is_worth_one(case: Case) -> None:
    grades = case[1] | {31: 2.0}
    ideal = sorted(grades, key=lambda row: -grades[row])
    assert values(f"ndcg@{DEPTH}", [(ideal, grades)]) == [1.0]


@given(cases(), st.integers(1, DEPTH), st.randoms(use_true_random=False))
def test_nothing_below_k_matters(case: Case, k: int, random: object) -> None:
    order, grades = case
    below = order[k:]
    random.shuffle(below)  # type: ignore[attr-defined]
    for kind in METRICS:
        name = f"{kind}@{k}"
        assert values(name, [case]) == pytest.approx(values(name, [(order[:k] + below, grades)]), nan_ok=True)


@given(cases())
def test_a_better_grade_further_up_is_never_worth_less(case: Case) -> None:
    order, grades = case
    graded = grade_orders([np.array(order, np.int64)], [qrels_of(grades)], DEPTH)
    best_first = sorted(order[:DEPTH], key=lambda row: -grades.get(row, 0.0))
    sorted_up = grade_orders([np.array(best_first, np.int64)], [qrels_of(grades)], DEPTH)
    before, after = ndcg_at_k(graded, DEPTH)[0], ndcg_at_k(sorted_up, DEPTH)[0]
    assert math.isnan(before) or after >= before - 1e-12


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=40), st.integers(0, 99))
def test_an_interval_holds_its_mean_and_swaps_sign_with_the_systems(drawn: list[float], seed: int) -> None:
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
def test_columns_measured_together_have_the_intervals_they_have_alone(num: int, seed: int) -> None:
    values_QM = np.random.default_rng(seed).random((num, 3))
    together = bootstrap_means(values_QM, seed=seed, num_resamples=100)
    for column, interval in zip(values_QM.T, together, strict=True):
        alone = bootstrap_mean(column, seed=seed, num_resamples=100)
        assert (interval.low, interval.mean, interval.high) == pytest.approx((alone.low, alone.mean, alone.high))
