"""What an order of products is worth to who asked: one number per query, NaN where the query has no positive.

A query without a positive can tell no two systems apart: it is left out of every mean, and reports say how many were. Orders hold a product
once, so there are no ties to break here. Letters: Q queries, K positions, J judged products.
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
    """Discounted gain of the first k positions, by that of the best possible order over *all* judged products: [Q], 0..1.

    Position p (from 1) is discounted by log2(p + 1).
    Source: Järvelin and Kekäläinen, TOIS 2002; gain 2^grade - 1 after Burges et al., ICML 2005.
    """
    return ndcg(GAINS[gain](_first(graded, k)), dcg(GAINS[gain](graded.judged_QJ[:, :k])))


def mrr_at_k(graded: GradedOrders, k: int) -> Floats:
    """1 / position of the first relevant product, 0 when none is among the first k: [Q]."""
    relevant_QK = _first(graded, k) > 0
    first_Q = relevant_QK.argmax(axis=1)
    return _with_positive(graded, np.where(relevant_QK.any(axis=1), 1.0 / (first_Q + 1.0), 0.0))


def recall_at_k(graded: GradedOrders, k: int) -> Floats:
    """Share of the relevant products that are among the first k: [Q]."""
    return _with_positive(graded, _num_found(graded, k) / np.maximum(graded.num_relevant_Q, 1))


def precision_at_k(graded: GradedOrders, k: int) -> Floats:
    """Share of the first k positions that hold a relevant product; a shorter order is not excused: [Q]."""
    return _with_positive(graded, _num_found(graded, k) / k)


def f1_at_k(graded: GradedOrders, k: int) -> Floats:
    """Harmonic mean of precision and recall among the first k; 0 when both are: [Q]."""
    precision_Q, recall_Q = precision_at_k(graded, k), recall_at_k(graded, k)
    sum_Q = precision_Q + recall_Q
    f1_Q: Floats = np.divide(2.0 * precision_Q * recall_Q, sum_Q, out=sum_Q.copy(), where=sum_Q > 0)
    return f1_Q


def coverage_at_k(orders: Sequence[Order], num_products: int, k: int) -> float:
    """Share of the catalog that is among the first k of some query; a property of the system, not of a query."""
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
    """`ndcg@10` as its kind and its k.

    Raises:
        ConfigError: an unknown kind, or k is not a whole number above 0.
    """
    kind, at, k = name.partition("@")
    if kind not in METRICS:
        raise ConfigError(f"metric {name!r} is not known; allowed: {', '.join(f'{known}@k' for known in METRICS)}")
    if not at or not k.isdigit() or int(k) < 1:
        raise ConfigError(f"metric {name!r} has no k; write for example {kind}@10")
    return kind, int(k)


def metric_values(name: str, graded: GradedOrders, gain: Gain = "exponential") -> Floats:
    """The metric called `kind@k`, per query: [Q]; `gain` matters to ndcg only."""
    kind, k = split_metric(name)
    return ndcg_at_k(graded, k, gain) if kind == "ndcg" else METRICS[kind](graded, k)


def _first(graded: GradedOrders, k: int) -> Floats:
    num_graded = graded.grades_QK.shape[1]
    if not 1 <= k <= num_graded:
        raise ValueError(f"k is {k}, and the orders are graded to position {num_graded}; allowed: 1..{num_graded}")
    return graded.grades_QK[:, :k]


def _num_found(graded: GradedOrders, k: int) -> Floats:
    num_Q: Floats = np.count_nonzero(_first(graded, k) > 0, axis=1).astype(np.float64)
    return num_Q


def _with_positive(graded: GradedOrders, values_Q: Floats) -> Floats:
    return np.where(graded.num_relevant_Q > 0, values_Q, np.nan)
