"""Ranking metrics: one value per query, NaN where the query has no relevant product.

A query without a relevant product scores the same in every system. It is left out of every mean, and reports say how
many there are. Letters: Q queries, K positions, J judged products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from intarsia.errors import ConfigError
from intarsia.evaluation.qrels import GradedOrders, Order
from intarsia.maths.arrays import Floats
from intarsia.maths.ndcg import dcg, exponential_gain, ndcg

Gain = Literal["exponential", "linear"]
GAINS: Mapping[Gain, Callable[[Floats], Floats]] = {
    "exponential": exponential_gain,
    "linear": lambda grades: grades,
}


def ndcg_at_k(graded: GradedOrders, k: int, gain: Gain = "exponential") -> Floats:
    """The nDCG of the first k positions; the ideal order is over all judged products, retrieved or not: float64 [Q].

    See `maths/ndcg.py` for the definition and its sources.

    >>> graded = GradedOrders(grades_QK=np.array([[0.0, 1.0]]), judged_QJ=np.array([[1.0]]))
    >>> ndcg_at_k(graded, 2).round(4).tolist()
    [0.6309]
    """
    return ndcg(GAINS[gain](_top(graded, k)), dcg(GAINS[gain](graded.judged_QJ[:, :k])))


def mrr_at_k(graded: GradedOrders, k: int) -> Floats:
    """Reciprocal rank of the first relevant product, 0 when none is in the first k: float64 [Q]."""
    relevant_QK = _top(graded, k) > 0
    first_Q = relevant_QK.argmax(axis=1)
    return _with_positive(graded, np.where(relevant_QK.any(axis=1), 1.0 / (first_Q + 1.0), 0.0))


def recall_at_k(graded: GradedOrders, k: int) -> Floats:
    """Share of the relevant products that are in the first k: float64 [Q]."""
    return _with_positive(graded, _num_relevant_in(graded, k) / np.maximum(graded.num_relevant_Q, 1))


def precision_at_k(graded: GradedOrders, k: int) -> Floats:
    """Relevant products in the first k, divided by k also when the order is shorter: float64 [Q]."""
    return _with_positive(graded, _num_relevant_in(graded, k) / k)


def f1_at_k(graded: GradedOrders, k: int) -> Floats:
    """Harmonic mean of precision and recall in the first k; 0 when both are 0: float64 [Q]."""
    precision_Q, recall_Q = precision_at_k(graded, k), recall_at_k(graded, k)
    sum_Q = precision_Q + recall_Q
    f1_Q: Floats = np.divide(2.0 * precision_Q * recall_Q, sum_Q, out=sum_Q.copy(), where=sum_Q > 0)
    return f1_Q


def coverage_at_k(orders: Sequence[Order], num_products: int, k: int) -> float:
    """Share of the catalog that is in the first k of at least one query; one value per system."""
    if not orders or not num_products:
        return 0.0
    return len(np.unique(np.concatenate([order[:k] for order in orders]))) / num_products


QueryMetric = Callable[[GradedOrders, int], Floats]

METRICS: Mapping[str, QueryMetric] = {
    "ndcg": ndcg_at_k,
    "mrr": mrr_at_k,
    "recall": recall_at_k,
    "precision": precision_at_k,
    "f1": f1_at_k,
}


def split_metric(name: str) -> tuple[str, int]:
    """Split a metric such as `ndcg@10` into its name and its k.

    >>> split_metric("ndcg@10")
    ('ndcg', 10)

    Raises:
        ConfigError: an unknown name, or k is not a whole number above 0.
    """
    metric, at, k = name.partition("@")
    if metric not in METRICS:
        raise ConfigError(f"metric {name!r} is not known; allowed: {', '.join(f'{known}@k' for known in METRICS)}")
    if not at or not k.isdigit() or int(k) < 1:
        raise ConfigError(f"metric {name!r} has no k; write for example {metric}@10")
    return metric, int(k)


def metric_values(name: str, graded: GradedOrders, gain: Gain = "exponential") -> Floats:
    """The metric `name@k` of each query: float64 [Q]; only ndcg reads `gain`."""
    metric, k = split_metric(name)
    return ndcg_at_k(graded, k, gain) if metric == "ndcg" else METRICS[metric](graded, k)


def _top(graded: GradedOrders, k: int) -> Floats:
    num_graded = graded.grades_QK.shape[1]
    if not 1 <= k <= num_graded:
        raise ValueError(f"k is {k}, and the orders are graded to position {num_graded}; allowed: 1..{num_graded}")
    return graded.grades_QK[:, :k]


def _num_relevant_in(graded: GradedOrders, k: int) -> Floats:
    num_Q: Floats = np.count_nonzero(_top(graded, k) > 0, axis=1).astype(np.float64)
    return num_Q


def _with_positive(graded: GradedOrders, values_Q: Floats) -> Floats:
    return np.where(graded.num_relevant_Q > 0, values_Q, np.nan)
