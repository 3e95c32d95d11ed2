"""The judgments of queries by row number, and the grades of an order of products. Metrics: see `metrics.py`.

Letters: Q queries, K positions, J judged products of the query that has most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intarsia.ids import ProductId, QueryId
from intarsia.maths.arrays import Floats
from intarsia.records.judgment import Judgment

Order = NDArray[np.int64]
"""Product rows of one query, best first, each at most once."""

NOT_IN_CATALOG = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Qrels:
    """The judgments of one query: rows ascending, with their grades.

    A judged product that is not in the catalog has row -1.

    Such a product cannot be retrieved. It still counts in the ideal order and as relevant.

    >>> Qrels(rows_J=np.array([2, 5]), grades_J=np.array([3.0, 1.0])).grades_of(np.array([5, 4, 2])).tolist()
    [1.0, 0.0, 3.0]
    """

    rows_J: NDArray[np.int64]
    grades_J: Floats

    def __post_init__(self) -> None:
        assert self.rows_J.shape == self.grades_J.shape
        in_catalog = self.rows_J[self.rows_J != NOT_IN_CATALOG]
        assert bool(np.all(np.diff(self.rows_J) >= 0) and np.all(np.diff(in_catalog) > 0)), (
            "rows ascending, judged once"
        )

    def grades_of(self, rows: NDArray[np.int64]) -> Floats:
        """The grade of each row; 0 for a row that was not judged."""
        if not len(self.rows_J):
            return np.zeros(len(rows))
        at = np.minimum(np.searchsorted(self.rows_J, rows), len(self.rows_J) - 1)
        return np.where(self.rows_J[at] == rows, self.grades_J[at], 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedOrders:
    """The grades of one system's orders of all queries.

    Attributes:
        grades_QK: grade at each position; 0 for a product that was not judged, and behind the end of the order.
        judged_QJ: all judged grades of the query, highest first, padded with zeros: the ideal order.
    """

    grades_QK: Floats
    judged_QJ: Floats

    @property
    def num_relevant_Q(self) -> NDArray[np.int64]:
        """Number of products with a grade above 0, retrieved or not: int64 [Q]."""
        num_Q: NDArray[np.int64] = np.count_nonzero(self.judged_QJ > 0, axis=1)
        return num_Q


def qrels_by_query(
    judgments: Iterable[Judgment], query_ids: Sequence[QueryId], rows: Mapping[ProductId, int]
) -> list[Qrels]:
    """The judgments of each query, in the order of `query_ids`; judgments of other queries are left out.

    Args:
        judgments: at most one for a query and product.
        query_ids: the queries.
        rows: row number by product id.
    """
    grades: dict[QueryId, list[tuple[int, float]]] = {query_id: [] for query_id in query_ids}
    for judgment in judgments:
        if judgment.query_id in grades:
            grades[judgment.query_id].append((rows.get(judgment.product_id, NOT_IN_CATALOG), judgment.grade))
    return [_qrels(grades[query_id]) for query_id in query_ids]


def grade_orders(orders: Sequence[Order], qrels: Sequence[Qrels], depth: int) -> GradedOrders:
    """The grades at the first `depth` positions of each query's order."""
    grades_QK = np.zeros((len(orders), depth))
    for grades_K, order, judged in zip(grades_QK, orders, qrels, strict=True):
        top_rows = order[:depth]
        grades_K[: len(top_rows)] = judged.grades_of(top_rows)
    return GradedOrders(grades_QK=grades_QK, judged_QJ=judged_grades(qrels))


def judged_grades(qrels: Sequence[Qrels]) -> Floats:
    """All judged grades of each query, highest first, padded with zeros: float64 [Q, J]."""
    judged_QJ = np.zeros((len(qrels), max((len(judged.grades_J) for judged in qrels), default=0)))
    for judged_J, judged in zip(judged_QJ, qrels, strict=True):
        judged_J[: len(judged.grades_J)] = -np.sort(-judged.grades_J)
    return judged_QJ


def _qrels(pairs: list[tuple[int, float]]) -> Qrels:
    pairs.sort()
    return Qrels(rows_J=np.array([row for row, _ in pairs], np.int64), grades_J=np.array([g for _, g in pairs], float))
