from __future__ import annotations

import numpy as np

from intarsia.index.top_k import top_k

NAN = np.nan


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_best_first_and_ties_go_to_the_smaller_row() -> None:
    assert top_k(scores(1, 3, 2, 3), 3).tolist() == [1, 3, 2]


def test_a_tie_at_the_cut_keeps_the_smaller_row() -> None:
    assert top_k(scores(0, 5, 5, 5, 9), 2).tolist() == [4, 1]


def test_rows_without_a_score_are_never_returned() -> None:
    assert top_k(scores(NAN, -1, NAN), 3).tolist() == [1]


def test_only_allowed_rows_are_returned_even_if_fewer_than_k() -> None:
    assert top_k(scores(4, 3, 2, 1), 10, np.array([False, True, False, True])).tolist() == [1, 3]


def test_no_allowed_row_gives_an_empty_result() -> None:
    assert top_k(scores(1, 2), 1, np.zeros(2, np.bool_)).tolist() == []
