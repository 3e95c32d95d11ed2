"""Sums, maxima and look-ups over `Ragged` lists, in integers: results are exact, and no row depends on another.

Letters: n lists, T values of all lists.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from intarsia.maths.arrays import Floats, Ints
from intarsia.records.feature_matrix import Ragged


def lists(rows: Sequence[Sequence[int]]) -> Ragged:
    """Convert Python lists."""
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return Ragged(np.array([value for row in rows for value in row], np.int32), offsets)


def rectangle(values_nW: NDArray[np.integer]) -> Ragged:
    """Convert a matrix: each row becomes a list of W values."""
    num_rows, width = values_nW.shape
    return Ragged(values_nW.astype(np.int32).reshape(-1), np.arange(num_rows + 1, dtype=np.int64) * width)


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """The lists of all parts, one part after another."""
    all_lengths = np.concatenate([np.empty(0, np.int64), *(np.diff(part.offsets) for part in parts)])
    offsets = np.concatenate([[0], np.cumsum(all_lengths)]).astype(np.int64)
    return Ragged(np.concatenate([np.empty(0, np.int32), *(part.values for part in parts)]), offsets)


def lengths(ragged: Ragged) -> Ints:
    """int64 [n]: length of each list."""
    return np.diff(ragged.offsets)


def list_numbers(ragged: Ragged) -> Ints:
    """int64 [T]: number of the list that each value belongs to."""
    return np.repeat(np.arange(len(ragged)), lengths(ragged))


def sums(values_T: NDArray[np.integer] | NDArray[np.bool_], offsets: Ints) -> Ints:
    """int64 [n]: sum of each list, 0 for an empty one.

    >>> sums(np.array([1, 2, 5]), np.array([0, 2, 2, 3])).tolist()
    [3, 0, 5]
    """
    running = np.zeros(len(values_T) + 1, np.int64)
    np.cumsum(values_T, out=running[1:])
    return running[offsets[1:]] - running[offsets[:-1]]


def maxima(values_T: Ints, offsets: Ints, *, of_empty: int) -> Ints:
    """int64 [n]: largest value of each list, `of_empty` for an empty one."""
    maxima_n = np.full(len(offsets) - 1, of_empty, np.int64)
    filled = offsets[1:] > offsets[:-1]
    if filled.any():
        maxima_n[filled] = np.maximum.reduceat(values_T, offsets[:-1][filled])
    return maxima_n


def share(part_n: NDArray[np.integer], whole_n: NDArray[np.integer]) -> Floats:
    """Part divided by whole, float64 [n]; NaN where the whole is 0."""
    share_n = np.full(len(part_n), np.nan)
    np.divide(part_n, whole_n, out=share_n, where=np.asarray(whole_n) > 0)
    return share_n
