"""Sums, maxima and look-ups over Ragged lists, exact (integers only), so that no row's result depends on its neighbours.

Letters: n lists, T values in all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from intarsia.records.feature_matrix import Ragged


def lists(rows: Sequence[Sequence[int]]) -> Ragged:
    """Python lists as Ragged."""
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return Ragged(np.array([value for row in rows for value in row], np.int32), offsets)


def rectangle(values_nW: NDArray[np.integer]) -> Ragged:
    """A matrix whose rows become lists of one length."""
    num_rows, width = values_nW.shape
    return Ragged(values_nW.astype(np.int32).reshape(-1), np.arange(num_rows + 1, dtype=np.int64) * width)


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """The lists of several, one after another."""
    lengths = np.concatenate([np.empty(0, np.int64), *(np.diff(part.offsets) for part in parts)])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Ragged(np.concatenate([np.empty(0, np.int32), *(part.values for part in parts)]), offsets)


def lengths(of: Ragged) -> NDArray[np.int64]:
    """int64 [n]."""
    return np.diff(of.offsets)


def rows_of(of: Ragged) -> NDArray[np.int64]:
    """int64 [T]: the list each value belongs to."""
    return np.repeat(np.arange(len(of)), lengths(of))


def sums(values_T: NDArray[np.integer] | NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [n]: the sum of each list, 0 for an empty one."""
    running = np.zeros(len(values_T) + 1, np.int64)
    np.cumsum(values_T, out=running[1:])
    return running[offsets[1:]] - running[offsets[:-1]]


def maxima(values_T: NDArray[np.int64], offsets: NDArray[np.int64], *, of_empty: int) -> NDArray[np.int64]:
    """int64 [n]: the largest value of each list."""
    found = np.full(len(offsets) - 1, of_empty, np.int64)
    filled = offsets[1:] > offsets[:-1]
    if filled.any():
        found[filled] = np.maximum.reduceat(values_T, offsets[:-1][filled])
    return found


def share(part_n: NDArray[np.integer], whole_n: NDArray[np.integer]) -> NDArray[np.float64]:
    """Part by whole, float64 [n]; NaN where the whole is 0, because there was nothing to have a share of."""
    share_n = np.full(len(part_n), np.nan)
    np.divide(part_n, whole_n, out=share_n, where=np.asarray(whole_n) > 0)
    return share_n
