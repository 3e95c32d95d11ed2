from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.records.feature_matrix import CandidateFrame, FeatureMatrix, Ragged
from tests.catalogs import ragged
from tests.strategies import frames

LISTS = st.lists(st.lists(st.integers(0, 99), max_size=4), max_size=6)


@given(LISTS)
def test_every_row_of_a_ragged_column_is_its_own_list(lists: list[list[int]]) -> None:
    column = ragged(lists)
    assert len(column) == len(lists)
    assert [column.row(i).tolist() for i in range(len(column))] == lists


@given(LISTS, st.data())
def test_taking_rows_of_a_ragged_column_is_taking_their_lists(lists: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=8)) if lists else []
    taken = ragged(lists).take(np.array(rows, np.int64))
    assert [taken.row(i).tolist() for i in range(len(taken))] == [lists[row] for row in rows]
    assert (taken.values.dtype, taken.offsets.dtype) == (np.int32, np.int64)


@pytest.mark.parametrize("offsets", [[1, 2], [0, 3], [[0, 2]]])
def test_offsets_that_do_not_span_the_values_are_our_own_fault(offsets: list[int]) -> None:
    with pytest.raises(AssertionError):
        Ragged(np.zeros(2, np.int32), np.array(offsets, np.int64))


@given(frames())
def test_every_column_of_a_frame_has_a_row_for_each_candidate(frame: CandidateFrame) -> None:
    assert frame.num_rows == int(frame.group_offsets[-1])
    assert all(len(column) == frame.num_rows for column in frame.columns.values())


def test_a_column_of_another_length_is_told_by_its_name() -> None:
    with pytest.raises(AssertionError, match="column price has 2 rows of 3"):
        CandidateFrame(columns={"price": np.zeros(2)}, group_offsets=np.array([0, 3]))


def test_a_matrix_is_float32_named_and_read_only() -> None:
    matrix = FeatureMatrix(values_nF=np.zeros((2, 1), np.float32), names=("a",), fingerprint="f")
    with pytest.raises(ValueError, match="read-only"):
        matrix.values_nF[0, 0] = 1.0
    with pytest.raises(AssertionError):
        FeatureMatrix(values_nF=np.zeros((2, 1)), names=("a",), fingerprint="f")  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        FeatureMatrix(values_nF=np.zeros((2, 1), np.float32), names=("a", "b"), fingerprint="f")
