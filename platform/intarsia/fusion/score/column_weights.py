"""Two ways to fit the weights of a sum of score columns: a listwise loss, and coordinate ascent on nDCG.

`fit_listwise` is convex and takes many columns (`gate.py`, the start of `stacking.py`). `ascend_ndcg` maximises the
metric itself, for few columns and a few hundred queries (`weighted.py`, the end of `stacking.py`).

Shapes: n candidates of all queries, G queries, F columns.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import minimize

from intarsia.fusion.training_data import ListGains
from intarsia.maths.arrays import Floats
from intarsia.maths.grouped import Groups
from intarsia.maths.ndcg import mean_known
from intarsia.maths.simplex import simplex_grid

ColumnWeights = tuple[float, ...]
"""One weight per column, 0 or more, summing to 1."""

_MAX_ITERATIONS = 300
_MOVE_SIZES = (0.1, 0.05, 0.025)
_MIN_GAIN = 1e-9  # of nDCG; a smaller difference is rounding


def sum_columns(weights_F: Floats, columns_Fn: Floats) -> Floats:
    """Return the weighted sum of the columns: float64 [n].

    It adds one column after another: the order of the additions, and so every bit, does not depend on the batch.
    """
    sum_n = np.zeros(columns_Fn.shape[1])
    for weight, column_n in zip(weights_F.tolist(), columns_Fn, strict=True):
        sum_n += weight * column_n
    return sum_n


def fit_listwise(
    columns_Fn: Floats,
    groups: Groups,
    gains_n: Floats,
    *,
    penalties_F: Floats,
    lower_bounds_F: Floats,
    start_F: Floats,
) -> Floats:
    """Fit weights so that the softmax of a query's scores is near the candidates' shares of the query's gain.

    The loss is convex.

    Args:
        columns_Fn: finite.
        groups: which candidates belong to which query; queries without gain are ignored.
        gains_n: 0 or more; divided by their sum over the query, they are the target shares.
        penalties_F: L2 penalty on the weight of each column, added to the mean cross-entropy of a query.
        lower_bounds_F: of each weight; 0 for a stack whose weights must not be negative, -inf for no bound.
        start_F: where the optimiser starts; it affects the speed only.

    Returns:
        The weights, float64 [F].

    Source: Cao et al., "Learning to rank: from pairwise approach to listwise approach", ICML 2007, the top-one loss of
    section 5. doi:10.1145/1273496.1273513
    """
    total_G = groups.total(gains_n[None])[0]
    informative_n = groups.spread(total_G) > 0
    num = max(int(np.count_nonzero(total_G > 0)), 1)
    shares_n = np.divide(gains_n, groups.spread(total_G), out=np.zeros_like(gains_n), where=informative_n)

    def loss(weights_F: Floats) -> tuple[float, Floats]:
        scores_n = weights_F @ columns_Fn
        scores_n -= groups.spread(np.nan_to_num(groups.largest(scores_n[None])[0]))
        exp_n = np.exp(scores_n)
        sum_n = groups.spread(groups.total(exp_n[None])[0])
        cross_entropy = -float(shares_n @ (scores_n - np.log(sum_n))) / num
        gradient_F = columns_Fn @ np.where(informative_n, exp_n / sum_n - shares_n, 0.0) / num
        return cross_entropy + float(penalties_F @ weights_F**2), gradient_F + 2.0 * penalties_F * weights_F

    bounds = [(low if np.isfinite(low) else None, None) for low in lower_bounds_F.tolist()]
    result = minimize(loss, start_F, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _MAX_ITERATIONS})
    weights_F: Floats = np.asarray(result.x, np.float64)
    return weights_F


def grid_points(num_columns: int, num_steps: int) -> Iterator[ColumnWeights]:
    """Yield equal weights, then every way to split 1 into steps of 1 / num_steps."""
    yield (1.0 / num_columns,) * num_columns
    for steps in simplex_grid(num_columns, num_steps):
        yield tuple(step / num_steps for step in steps)


def ascend_ndcg(columns_Fn: Floats, lists: ListGains, starts: Iterator[ColumnWeights]) -> tuple[ColumnWeights, float]:
    """Take the best of some starting weights, then move weight between columns as long as nDCG@k rises.

    Args:
        columns_Fn: finite.
        lists: measures an order.
        starts: weights of 0 or more that sum to 1; the first one wins ties.

    Returns:
        The weights, and their mean nDCG@k.

    Source: coordinate ascent on the metric after Metzler and Croft, "Linear feature-based models for information
    retrieval", Information Retrieval 2007. doi:10.1007/s10791-006-9019-z
    """

    def mean_ndcg(weights: ColumnWeights) -> float:
        return mean_known(lists.ndcg_G(sum_columns(np.array(weights), columns_Fn)), without_any=0.0)

    best: ColumnWeights = ()
    best_ndcg = -1.0
    for weights in starts:
        if (ndcg := mean_ndcg(weights)) > best_ndcg + _MIN_GAIN:
            best, best_ndcg = weights, ndcg
    for size in _MOVE_SIZES:
        moved = True
        while moved:
            moved = False
            for weights in weight_moves(best, size):
                if (ndcg := mean_ndcg(weights)) > best_ndcg + _MIN_GAIN:
                    best, best_ndcg, moved = weights, ndcg, True
                    break
    return best, best_ndcg


def weight_moves(weights: ColumnWeights, size: float) -> Iterator[ColumnWeights]:
    """Yield all ways to move up to `size` of weight from one column to another."""
    for source, available in enumerate(weights):
        amount = min(size, available)
        for target in range(len(weights)):
            if target != source and amount > 0:
                changed = list(weights)
                changed[source] -= amount
                changed[target] += amount
                yield tuple(changed)
