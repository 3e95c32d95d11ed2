from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.records.feature_matrix import CandidateFrame, FeatureMatrix, Ragged, matrix_digest
from tests.catalogs import ragged
from tests.strategies import frames

LISTS = st.lists(st.lists(st.integers(0, 99), max_size=4), max_size=6)


@given(LISTS)
def test_a_ragged_column_returns_the_list_of_every_row(lists: list[list[int]]) -> None:
    column = ragged(lists)
    assert len(column) == len(lists)
    assert [column.row(i).tolist() for i in range(len(column))] == lists


@given(LISTS, st.data())
def test_take_returns_the_lists_of_the_rows(lists: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=8)) if lists else []
    taken = ragged(lists).take(np.array(rows, np.int64))
    assert [taken.row(i).tolist() for i in range(len(taken))] == [lists[row] for row in rows]
    assert (taken.values.dtype, taken.offsets.dtype) == (np.int32, np.int64)


@pytest.mark.parametrize("offsets", [[1, 2], [0, 3], [[0, 2]]])
def test_offsets_that_do_not_span_the_values_are_asserted(offsets: list[int]) -> None:
    with pytest.raises(AssertionError):
        Ragged(np.zeros(2, np.int32), np.array(offsets, np.int64))


@given(frames())
def test_every_column_of_a_frame_has_num_rows_rows(frame: CandidateFrame) -> None:
    assert frame.num_rows == int(frame.group_offsets[-1])
    assert all(len(column) == frame.num_rows for column in frame.columns.values())


def test_a_column_of_another_length_is_named() -> None:
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


ROWS = np.array([3, 5, 8], np.int64)
CELLS = np.array([[1.0, np.nan], [-0.5, 0.0], [1e-45, 7.0]], np.float32)
DIGEST = matrix_digest("f", ROWS, CELLS)


def flipped(array: np.ndarray, i: int, bit: int) -> np.ndarray:
    """The array with one bit of element `i` flipped."""
    changed = array.copy()
    bits = changed.view(np.uint32 if changed.itemsize == 4 else np.uint64).reshape(-1)
    bits[i] ^= bits.dtype.type(1) << bits.dtype.type(bit)
    return changed


def test_a_digest_is_blake2b_over_fingerprint_shape_rows_and_cells() -> None:
    content = b"f\0(3, 2)\0" + ROWS.astype("<i8").tobytes() + CELLS.astype("<f4").tobytes()
    assert hashlib.blake2b(content, digest_size=8).digest() == DIGEST


@pytest.mark.parametrize("i", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("bit", [0, 1, 12, 30, 31])
def test_every_bit_of_every_cell_changes_the_digest(i: int, bit: int) -> None:
    assert matrix_digest("f", ROWS, flipped(CELLS, i, bit)) != DIGEST


@pytest.mark.parametrize("i", range(3))
@pytest.mark.parametrize("bit", [0, 40, 62])
def test_every_bit_of_every_row_number_changes_the_digest(i: int, bit: int) -> None:
    assert matrix_digest("f", flipped(ROWS, i, bit), CELLS) != DIGEST


def test_fingerprint_order_and_shape_change_the_digest() -> None:
    others = [
        matrix_digest("g", ROWS, CELLS),
        matrix_digest("f", ROWS, CELLS[::-1]),
        matrix_digest("f", ROWS[:2], CELLS[:2]),
        matrix_digest("f", ROWS, CELLS[:, :1]),
        matrix_digest("f", np.empty(0, np.int64), np.empty((0, 2), np.float32)),
        matrix_digest("f", np.empty(0, np.int64), np.empty((0, 3), np.float32)),
    ]
    assert len({DIGEST, *others}) == len(others) + 1


def test_all_nans_are_equal_and_zero_has_a_sign() -> None:
    missing = flipped(CELLS, 1, 31)
    assert np.isnan(missing[0, 1]) and missing.tobytes() != CELLS.tobytes()
    assert matrix_digest("f", ROWS, missing) == DIGEST
    assert matrix_digest("f", ROWS, flipped(CELLS, 3, 31)) != DIGEST


def test_the_memory_layout_does_not_change_the_digest() -> None:
    wide = np.zeros((6, 4), np.float32)
    wide[::2, 1:3] = CELLS
    assert matrix_digest("f", ROWS, wide[::2, 1:3]) == matrix_digest("f", ROWS, np.asfortranarray(CELLS)) == DIGEST
