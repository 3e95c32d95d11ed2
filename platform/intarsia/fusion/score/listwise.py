"""Linear models of a whole list: weights of columns, so that the softmax of a query's scores is near the softmax its grades ask for.

The loss is convex, so equal inputs have one answer. Letters: n candidates of all queries, G queries, F columns.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from intarsia.maths.arrays import Floats
from intarsia.maths.grouped import Groups

_MOST_STEPS = 300


def fit_listwise(
    columns_Fn: Floats,
    groups: Groups,
    gains_n: Floats,
    *,
    penalties_F: Floats,
    least_F: Floats,
    start_F: Floats,
) -> Floats:
    """The weights of the columns, float64 [F].

    Args:
        columns_Fn: finite.
        groups: which candidates are of one query; queries without gain say nothing.
        gains_n: 0 or more; a query's gains, by their sum, are the shares its candidates should have.
        penalties_F: L2, on the weight of each column, beside the mean cross-entropy of a query.
        least_F: lower bound of each weight; 0 for a stack that may not contradict its members, -inf for none.
        start_F: where the search begins; matters to the speed alone.

    Source: Cao et al., "Learning to rank: from pairwise approach to listwise approach", ICML 2007, the top-one loss of section 5.
    doi:10.1145/1273496.1273513
    """
    total_G = groups.total(gains_n[None])[0]
    teaches_n = groups.spread(total_G) > 0
    num = max(int(np.count_nonzero(total_G > 0)), 1)
    shares_n = np.divide(gains_n, groups.spread(total_G), out=np.zeros_like(gains_n), where=teaches_n)

    def loss(weights_F: Floats) -> tuple[float, Floats]:
        scores_n = weights_F @ columns_Fn
        scores_n -= groups.spread(np.nan_to_num(groups.largest(scores_n[None])[0]))
        raised_n = np.exp(scores_n)
        sum_n = groups.spread(groups.total(raised_n[None])[0])
        cross_entropy = -float(shares_n @ (scores_n - np.log(sum_n))) / num
        slope_F = columns_Fn @ np.where(teaches_n, raised_n / sum_n - shares_n, 0.0) / num
        return cross_entropy + float(penalties_F @ weights_F**2), slope_F + 2.0 * penalties_F * weights_F

    bounds = [(low if np.isfinite(low) else None, None) for low in least_F.tolist()]
    found = minimize(loss, start_F, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _MOST_STEPS})
    weights_F: Floats = np.asarray(found.x, np.float64)
    return weights_F


def weighted_sum(weights_F: Floats, columns_Fn: Floats) -> Floats:
    """The scores, one column after the other: the order of additions, so every bit, is the same for any batch."""
    sum_n = np.zeros(columns_Fn.shape[1])
    for weight, column_n in zip(weights_F.tolist(), columns_Fn, strict=True):
        sum_n += weight * column_n
    return sum_n
