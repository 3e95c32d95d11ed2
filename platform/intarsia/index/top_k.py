"""The k best rows of a score per product, deterministic. Letters: N products."""

from __future__ import annotations

import numpy as np

from intarsia.maths.arrays import Bools, Float32s, Ints
from intarsia.records.candidates import best_first


def top_k(scores_N: Float32s, k: int, allowed_N: Bools | None = None) -> Ints:
    """Rows of the k highest scores among the allowed rows, best first; ties go to the smaller row.

    Args:
        scores_N: higher is better; a row whose score is NaN is never returned.
        k: maximum number of rows, 1 or more.
        allowed_N: which rows may be returned; None allows all.

    Returns:
        int64 [k or fewer].

    >>> top_k(np.array([0.1, 0.9, np.nan, 0.9], np.float32), 2).tolist()
    [1, 3]
    """
    assert k >= 1, f"k is {k}; allowed: 1 or more"
    eligible_N = ~np.isnan(scores_N)
    if allowed_N is not None:
        eligible_N &= allowed_N
    rows = np.flatnonzero(eligible_N)
    scores = scores_N[rows]
    if len(rows) > k:
        kth_best = np.partition(scores, len(rows) - k)[len(rows) - k]
        # with all ties of the k-th, so that the smaller row wins however partition ordered them
        shortlist = scores >= kth_best
        rows, scores = rows[shortlist], scores[shortlist]
    return rows[best_first(scores, rows)][:k]
