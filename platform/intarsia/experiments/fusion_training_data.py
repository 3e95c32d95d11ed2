"""Judged queries as training data of fusers, and the metric of a fuser on them.

Letters: N products, C candidates, Q queries.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.engine.retrieve import RetrieveStage
from intarsia.evaluation.metrics import metric_values, split_metric
from intarsia.evaluation.qrels import Order, Qrels, grade_orders
from intarsia.experiments.judged_candidates import JudgedCandidates, retrieve_one
from intarsia.fusion.ensemble.cross_fit import CrossFitFuser
from intarsia.fusion.protocol import Fuser, FusionTrainingData, ProductVectors
from intarsia.maths.arrays import Floats
from intarsia.records.candidates import Candidates, best_first
from intarsia.records.query import EncodedQuery

_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedQueries:
    """The judged queries of one split, encoded once for retrieval from several catalogs."""

    query_ids: tuple[str, ...]
    encoded: Sequence[EncodedQuery]
    qrels: Sequence[Qrels]

    @staticmethod
    def of(judged: Sequence[JudgedCandidates], qrels: Sequence[Qrels]) -> EncodedQueries:
        """The queries of retrieved candidates; `qrels` are in the same order."""
        return EncodedQueries(
            query_ids=tuple(str(query.judged.query_id) for query in judged),
            encoded=[query.encoded for query in judged],
            qrels=qrels,
        )

    def retrieve(self, stage: RetrieveStage) -> list[Candidates]:
        """The candidates of each query; with `judged_only`, among its judged products."""
        return [
            retrieve_one(stage, query, judged.rows_J[judged.rows_J >= 0])
            for query, judged in zip(self.encoded, self.qrels, strict=True)
        ]

    def training_data(self, candidates: Sequence[Candidates], products: ProductVectors | None) -> FusionTrainingData:
        """Training data from these queries and their candidates."""
        return FusionTrainingData(
            query_ids=self.query_ids,
            candidates=candidates,
            grades=[judged.grades_of(c.rows_C) for judged, c in zip(self.qrels, candidates, strict=True)],
            judged=[judged.grades_J for judged in self.qrels],
            products=products,
        )


def fused_order(fuser: Fuser, candidates: Candidates) -> Order:
    """Product rows by fused score, best first; empty without candidates."""
    if not len(candidates.rows_C):
        return _NO_ROWS
    fused = fuser.fuse(candidates)
    assert fused.fused_C is not None
    return fused.rows_C[best_first(fused.fused_C, fused.rows_C)]


def measure_fuser(
    fuser: Fuser, candidates: Sequence[Candidates], qrels: Sequence[Qrels], metric: str
) -> tuple[Floats, float]:
    """A metric such as ndcg@10 of each query, and the median milliseconds to fuse one query.

    The metric is float64 [Q], NaN without a relevant product.
    """
    orders, times_ms = [], []
    for query_candidates in candidates:
        started_s = time.perf_counter()
        orders.append(fused_order(fuser, query_candidates))
        times_ms.append(1000.0 * (time.perf_counter() - started_s))
    return _values(orders, qrels, metric), float(np.median(times_ms)) if times_ms else 0.0


def out_of_fold_metric(
    fuser: CrossFitFuser, queries: EncodedQueries, candidates: Sequence[Candidates], metric: str
) -> Floats:
    """The metric of each train query, float64 [Q], fused by the fuser that was fitted without the query's fold."""
    orders = [
        fused_order(fuser.out_of_fold(query_id), query_candidates)
        for query_id, query_candidates in zip(queries.query_ids, candidates, strict=True)
    ]
    return _values(orders, queries.qrels, metric)


def _values(orders: Sequence[Order], qrels: Sequence[Qrels], metric: str) -> Floats:
    return metric_values(metric, grade_orders(orders, qrels, split_metric(metric)[1]))
