"""The best rows of a score per product: deterministic, ties by smaller row.

Letters: N products, k depth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intarsia.records.candidates import best_first


def top_k(scores_N: NDArray[np.float32], k: int, allowed_N: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Rows of the k highest scores among the allowed ones, best first, ties by smaller row.

    Args:
        scores_N: higher is better; NaN means "cannot be scored", such a row is never returned.
        k: how many at most, 1 or more; fewer come back when fewer are allowed.
        allowed_N: which rows may be returned; None allows all.

    Returns:
        int64 [at most k].
    """
    assert k >= 1, f"k is {k}; allowed: 1 or more"
    can_N = ~np.isnan(scores_N)
    if allowed_N is not None:
        can_N &= allowed_N
    rows = np.flatnonzero(can_N)
    scores = scores_N[rows]
    if len(rows) > k:
        kth_best = np.partition(scores, len(rows) - k)[len(rows) - k]
        near = scores >= kth_best  # all that tie with the k-th, so that the smaller row wins whatever the partition did
        rows, scores = rows[near], scores[near]
    return rows[best_first(scores, rows)][:k]
