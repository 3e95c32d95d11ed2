"""Reductions and top positions within queries, by hand; `tests/property/test_fusion.py` compares with sorting."""

from __future__ import annotations

import numpy as np

from intarsia.maths.grouped import Groups

GROUPS = Groups(np.array([0, 2, 2, 5]))
VALUES = np.array([[1.0, np.nan, 4.0, 2.0, 3.0]])


def test_reductions_ignore_nan_and_mark_empty_queries() -> None:
    assert np.array_equal(GROUPS.smallest(VALUES), [[1.0, np.nan, 2.0]], equal_nan=True)
    assert np.array_equal(GROUPS.largest(VALUES), [[1.0, np.nan, 4.0]], equal_nan=True)
    assert np.array_equal(GROUPS.mean(VALUES), [[1.0, np.nan, 3.0]], equal_nan=True)
    assert GROUPS.total(np.nan_to_num(VALUES)).tolist() == [[1.0, 0.0, 9.0]]
    assert GROUPS.any(VALUES == 3.0).tolist() == [[False, False, True]]


def test_a_value_per_query_is_repeated_for_its_candidates() -> None:
    assert GROUPS.num_groups == 3 and GROUPS.lengths_G.tolist() == [2, 0, 3]
    assert GROUPS.spread(np.array([7, 8, 9])).tolist() == [7, 7, 9, 9, 9]


def test_top_positions_are_padded_and_ties_keep_their_order() -> None:
    scores_n = np.array([0.5, 0.5, 1.0, 3.0, 1.0])
    assert GROUPS.top_positions(scores_n, 2).tolist() == [[0, 1], [-1, -1], [3, 2]]
