"""The definition of discounted cumulative gain (DCG) and of its normalised form (nDCG).

Everything that measures by nDCG uses it: evaluation, the fits of fusion methods, the ranker's fit.

Letters: Q queries, K positions, J judged products of the query that has most, n candidates of all queries, G queries of
a flat array.

Source: Järvelin and Kekäläinen, TOIS 2002, doi:10.1145/582415.582418; gain 2^grade - 1 after Burges et al., ICML 2005.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intarsia.maths.arrays import Floats
from intarsia.maths.grouped import Groups


def exponential_gain(grades: Floats) -> Floats:
    """Gain 2^grade - 1, any shape.

    >>> exponential_gain(np.array([0.0, 1.0, 3.0])).tolist()
    [0.0, 1.0, 7.0]
    """
    gains: Floats = np.exp2(grades) - 1.0
    return gains


def dcg(gains_QK: Floats) -> Floats:
    """Sum of gain / log2(position + 1), positions from 1: float64 [Q].

    Trailing zeros change no bit of the result, so a padded list equals the shorter one.

    >>> dcg(np.array([[3.0, 0.0, 2.0]])).tolist()
    [4.0]
    """
    dcg_Q = np.zeros(len(gains_QK))
    for position, gains_Q in enumerate(gains_QK.T, start=1):
        dcg_Q += gains_Q / np.log2(position + 1.0)
    return dcg_Q


def ndcg(gains_QK: Floats, ideal_dcg_Q: Floats, *, without_positive: float = np.nan) -> Floats:
    """DCG of ranked lists divided by the DCG of the best possible list.

    Args:
        gains_QK: gain at each position, padded with zeros.
        ideal_dcg_Q: `dcg` of the first K gains of the best possible order.
        without_positive: value of a query whose ideal DCG is 0. NaN leaves it out of means; LightGBM counts it as 1.

    Returns:
        float64 [Q], 0..1.

    >>> ndcg(np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([1.0, 0.0])).round(4).tolist()
    [0.6309, nan]
    """
    dcg_Q = dcg(gains_QK)
    ndcg_Q: Floats = np.divide(dcg_Q, ideal_dcg_Q, out=np.full(len(dcg_Q), without_positive), where=ideal_dcg_Q > 0)
    return ndcg_Q


def ndcg_by_scores(
    scores_n: NDArray[np.floating],
    gains_n: Floats,
    groups: Groups,
    k: int,
    *,
    ideal_dcg_G: Floats | None = None,
    without_positive: float = np.nan,
) -> Floats:
    """nDCG@k of each query when its candidates are ordered by score; equal scores keep their order.

    Args:
        scores_n: score of each candidate, higher is better.
        gains_n: gain of each candidate.
        groups: which candidates belong to which query.
        k: number of positions that count.
        ideal_dcg_G: DCG@k of the best possible order; default: the best order of these candidates.
        without_positive: see `ndcg`.

    Returns:
        float64 [G].

    >>> ndcg_by_scores(np.array([0.2, 0.9]), np.array([1.0, 0.0]), Groups(np.array([0, 2])), 10).round(4).tolist()
    [0.6309]
    """
    if ideal_dcg_G is None:
        ideal_dcg_G = dcg(_gains_at_top(gains_n, gains_n, groups, k))
    return ndcg(_gains_at_top(scores_n, gains_n, groups, k), ideal_dcg_G, without_positive=without_positive)


def mean_known(values_Q: Floats, *, without_any: float = np.nan) -> float:
    """Mean of the values that are not NaN; `without_any` if there are none.

    >>> mean_known(np.array([0.5, np.nan, 1.0]), without_any=0.0)
    0.75
    """
    known_Q = values_Q[~np.isnan(values_Q)]
    return float(known_Q.mean()) if len(known_Q) else without_any


def _gains_at_top(scores_n: NDArray[np.floating], gains_n: Floats, groups: Groups, k: int) -> Floats:
    """Gains in the order of scores, [G, k], zeros behind a query's last candidate."""
    return np.append(gains_n, 0.0)[groups.top_positions(scores_n, k)]
