from __future__ import annotations

import math

import numpy as np
import pytest

from intarsia.errors import ConfigError
from intarsia.evaluation.metrics import coverage_at_k, metric_values, ndcg_at_k, split_metric
from intarsia.evaluation.qrels import NOT_IN_CATALOG, GradedOrders, Qrels, grade_orders, qrels_by_query
from intarsia.ids import ProductId, QueryId
from intarsia.records.judgment import Judgment

ORDER = np.array([7, 3, 9, 4], np.int64)
QRELS = Qrels(rows_J=np.array([3, 4, 8], np.int64), grades_J=np.array([3.0, 1.0, 2.0]))


def graded(*, depth: int = 4) -> GradedOrders:
    return grade_orders([ORDER], [QRELS], depth)


def test_the_ideal_order_has_products_that_were_not_retrieved() -> None:
    ideal = 7 / math.log2(2) + 3 / math.log2(3) + 1 / math.log2(4)
    dcg = 7 / math.log2(3) + 1 / math.log2(5)
    assert ndcg_at_k(graded(), 4).tolist() == pytest.approx([dcg / ideal])


def test_linear_gains_are_the_grades() -> None:
    ideal = 3 + 2 / math.log2(3) + 1 / math.log2(4)
    dcg = 3 / math.log2(3) + 1 / math.log2(5)
    assert metric_values("ndcg@4", graded(), "linear").tolist() == pytest.approx([dcg / ideal])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mrr@4", 1 / 2),
        ("mrr@1", 0.0),
        ("recall@4", 2 / 3),
        ("precision@4", 2 / 4),
        ("precision@2", 1 / 2),
        ("f1@4", 4 / 7),
    ],
)
def test_metrics_by_hand(name: str, value: float) -> None:
    assert metric_values(name, graded(), "exponential").tolist() == pytest.approx([value])


def test_precision_of_a_short_order_divides_by_k() -> None:
    assert metric_values("precision@10", graded(depth=10)).tolist() == [2 / 10]


def test_a_query_without_a_relevant_product_is_nan() -> None:
    grade_zero = Qrels(rows_J=np.array([3], np.int64), grades_J=np.array([0.0]))
    unjudged = Qrels(rows_J=np.empty(0, np.int64), grades_J=np.empty(0))
    empty_graded = grade_orders([ORDER, ORDER], [grade_zero, unjudged], 4)
    for name in ("ndcg@4", "mrr@4", "recall@4", "precision@4", "f1@4"):
        assert np.isnan(metric_values(name, empty_graded)).all()


def test_coverage_counts_products_once_over_all_queries() -> None:
    assert coverage_at_k([ORDER, np.array([7, 1], np.int64)], 10, 2) == 3 / 10
    assert coverage_at_k([], 10, 2) == 0.0


def test_a_judged_product_outside_the_catalog_stays_in_the_ideal() -> None:
    judgments = [
        Judgment(query_id=QueryId("q1"), product_id=ProductId("p2"), grade=1.0),
        Judgment(query_id=QueryId("q1"), product_id=ProductId("gone"), grade=3.0),
        Judgment(query_id=QueryId("q1"), product_id=ProductId("gone too"), grade=2.0),
        Judgment(query_id=QueryId("another"), product_id=ProductId("p2"), grade=3.0),
    ]
    q1, q2 = qrels_by_query(judgments, [QueryId("q1"), QueryId("q2")], {ProductId("p2"): 5})
    assert (q1.rows_J.tolist(), q1.grades_J.tolist()) == ([NOT_IN_CATALOG, NOT_IN_CATALOG, 5], [2.0, 3.0, 1.0])
    assert len(q2.rows_J) == 0
    perfect = grade_orders([np.array([5], np.int64)], [q1], 3)
    assert perfect.judged_QJ.tolist() == [[3.0, 2.0, 1.0]]
    assert ndcg_at_k(perfect, 3)[0] == pytest.approx(1 / (7 + 3 / math.log2(3) + 1 / 2))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("map@10", "metric 'map@10' is not known; allowed: ndcg@k"),
        ("ndcg", "has no k; write for example ndcg@10"),
        ("mrr@0", "has no k"),
    ],
)
def test_an_unknown_metric_is_refused(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        split_metric(name)


def test_a_k_deeper_than_the_graded_orders_is_refused() -> None:
    with pytest.raises(ValueError, match=r"k is 5, and the orders are graded to position 4; allowed: 1\.\.4"):
        ndcg_at_k(graded(), 5)
