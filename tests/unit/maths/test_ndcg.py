"""nDCG against its definition, computed in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.maths.grouped import Groups
from intarsia.maths.ndcg import dcg, exponential_gain, mean_known, ndcg, ndcg_by_scores

Query = tuple[list[float], list[float]]
"""Scores and gains of the candidates of one query."""


def dcg_by_definition(gains: Sequence[float], k: int) -> float:
    return sum(gain / math.log2(position + 1) for position, gain in enumerate(gains[:k], start=1))


def ndcg_by_definition(scores: list[float], gains: list[float], k: int, without_positive: float) -> float:
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    ideal = dcg_by_definition(sorted(gains, reverse=True), k)
    return dcg_by_definition([gains[i] for i in order], k) / ideal if ideal > 0 else without_positive


@st.composite
def queries(draw: st.DrawFn) -> Query:
    num = draw(st.integers(0, 40))
    scores = st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0]), min_size=num, max_size=num)
    gains = st.lists(st.sampled_from([0.0, 1.0, 3.0, 7.0]), min_size=num, max_size=num)
    return draw(scores), draw(gains)


@given(st.lists(queries(), min_size=1, max_size=5), st.integers(1, 12), st.sampled_from([0.0, 1.0]))
def test_flat_ndcg_is_the_definition(batch: list[Query], k: int, without_positive: float) -> None:
    groups = Groups(np.cumsum([0, *(len(scores) for scores, _ in batch)]))
    scores_n, gains_n = (np.concatenate([np.empty(0), *column]) for column in zip(*batch, strict=True))
    expected_G = [ndcg_by_definition(scores, gains, k, without_positive) for scores, gains in batch]
    ndcg_G = ndcg_by_scores(scores_n, gains_n, groups, k, without_positive=without_positive)
    assert ndcg_G == pytest.approx(expected_G, abs=1e-12)


def test_padded_ndcg_divides_by_the_given_ideal() -> None:
    gains_QK = np.array([[0.0, 3.0, 1.0], [7.0, 0.0, 0.0]])
    ideal_Q = np.array([dcg_by_definition([7.0, 3.0, 1.0], 3), dcg_by_definition([7.0], 3)])
    expected = (3 / math.log2(3) + 1 / 2) / (7 + 3 / math.log2(3) + 1 / 2)
    assert ndcg(gains_QK, ideal_Q) == pytest.approx([expected, 1.0])


def test_a_product_outside_the_candidates_lowers_ndcg() -> None:
    ideal_G = np.array([dcg_by_definition([7.0, 3.0], 10)])
    ndcg_G = ndcg_by_scores(np.array([1.0]), np.array([3.0]), Groups(np.array([0, 1])), 10, ideal_dcg_G=ideal_G)
    assert ndcg_G == pytest.approx([3.0 / (7.0 + 3.0 / math.log2(3))])


def test_a_query_without_a_positive_is_nan_by_default() -> None:
    nothing = (np.zeros((1, 3)), np.zeros(1))
    assert np.isnan(ndcg(*nothing)).all()
    assert ndcg(*nothing, without_positive=1.0).tolist() == [1.0]


def test_trailing_zeros_change_no_bit_of_dcg(rng: np.random.Generator) -> None:
    gains_QK = rng.random((20, 7))
    assert dcg(np.pad(gains_QK, ((0, 0), (0, 9)))).tolist() == dcg(gains_QK).tolist()
    assert dcg(np.empty((2, 0))).tolist() == [0.0, 0.0]


def test_exponential_gain_by_hand() -> None:
    assert exponential_gain(np.array([[0.0, 1.0], [2.0, 3.0]])).tolist() == [[0.0, 1.0], [3.0, 7.0]]


def test_the_mean_leaves_nan_out() -> None:
    assert mean_known(np.array([np.nan, 0.25, 0.75])) == 0.5
    assert np.isnan(mean_known(np.array([np.nan])))
    assert mean_known(np.empty(0), without_any=0.0) == 0.0
