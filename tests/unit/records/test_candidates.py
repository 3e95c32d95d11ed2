from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.errors import ReleaseMismatch
from intarsia.ids import ReleaseId
from intarsia.records.candidates import Candidates, best_first
from tests.strategies import candidates

THREE = Candidates(
    release_id=ReleaseId("r-1"),
    rows_C=np.array([2, 5, 9], np.int64),
    retrievers=("bm25", "text"),
    scores_CR=np.array([[1.0, 0.5], [3.0, np.nan], [2.0, 0.1]], np.float32),
    ranks_CR=np.array([[3, 1], [1, 0], [2, 0]], np.int32),
    views_C=np.array([-1, 0, 2], np.int32),
    num_matches=7,
)


def test_arrays_cannot_be_written() -> None:
    fused = THREE.with_fused(np.array([0.1, 0.2, 0.3]))
    assert fused.fused_C is not None
    for array in (fused.rows_C, fused.scores_CR, fused.ranks_CR, fused.views_C, fused.fused_C):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows_C": np.array([5, 2, 9], np.int64)},
        {"rows_C": np.array([2, 2, 9], np.int64)},
        {"rows_C": np.array([2, 5, 9], np.int32)},
        {"scores_CR": np.zeros((3, 1), np.float32)},
        {"scores_CR": np.zeros((3, 2), np.float64)},
        {"ranks_CR": np.zeros((2, 2), np.int32)},
        {"ranks_CR": np.zeros((3, 2), np.int64)},
        {"views_C": np.zeros(2, np.int32)},
    ],
)
def test_invalid_shapes_orders_and_types_are_asserted(wrong: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        replace(THREE, **wrong)


def test_a_fused_score_is_a_finite_number_per_candidate() -> None:
    fused_C = THREE.with_fused(np.array([0.1, 0.2, 0.3])).fused_C
    assert fused_C is not None and fused_C.dtype == np.float32
    for wrong_C in (np.array([0.1, 0.2]), np.array([0.1, 0.2, np.nan]), np.array([0.1, 0.2, np.inf])):
        with pytest.raises(AssertionError):
            THREE.with_fused(wrong_C)


def test_a_selection_keeps_all_columns() -> None:
    kept = THREE.with_fused(np.array([0.1, 0.2, 0.3])).only(np.array([True, False, True]))
    assert kept.fused_C is not None
    assert kept.rows_C.tolist() == [2, 9]
    assert kept.scores_CR.tolist() == [[1.0, 0.5], [2.0, np.float32(0.1)]]
    assert kept.ranks_CR.tolist() == [[3, 1], [2, 0]]
    assert kept.views_C.tolist() == [-1, 2]
    assert kept.fused_C.tolist() == [np.float32(0.1), np.float32(0.3)]
    assert (kept.num_matches, kept.release_id) == (7, "r-1")


@given(candidates(), st.data())
def test_a_selection_keeps_order_and_counts(drawn: Candidates, data: st.DataObject) -> None:
    keep_C = np.array(data.draw(st.lists(st.booleans(), min_size=len(drawn.rows_C), max_size=len(drawn.rows_C))), bool)
    kept = drawn.only(keep_C)
    assert kept.rows_C.tolist() == [row for row, keep in zip(drawn.rows_C.tolist(), keep_C, strict=True) if keep]
    assert kept.fused_C is None
    assert kept.num_matches == drawn.num_matches
    assert drawn.only(np.ones(len(keep_C), bool)).rows_C.tolist() == drawn.rows_C.tolist()


def test_candidates_of_another_release_are_refused() -> None:
    THREE.check_release(ReleaseId("r-1"))
    with pytest.raises(
        ReleaseMismatch, match=r"candidates are of release r-1, this stage holds r-2\. Fix: repeat the request"
    ):
        THREE.check_release(ReleaseId("r-2"))


def test_candidates_are_sorted_by_score_then_row() -> None:
    order = best_first(np.array([0.5, 2.0, 0.5, -1.0], np.float32), np.array([9, 4, 3, 1], np.int64))
    assert order.tolist() == [1, 2, 0, 3]


@given(st.lists(st.tuples(st.floats(allow_nan=False, width=32), st.integers(0, 2**40)), unique_by=lambda pair: pair[1]))
def test_the_order_is_that_of_sorting_by_score_then_row(pairs: list[tuple[float, int]]) -> None:
    scores_C = np.array([score for score, _ in pairs], np.float32)
    rows_C = np.array([row for _, row in pairs], np.int64)
    expected = sorted(range(len(pairs)), key=lambda i: (-pairs[i][0], pairs[i][1]))
    assert best_first(scores_C, rows_C).tolist() == expected
