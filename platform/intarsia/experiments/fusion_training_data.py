"""Judged queries as fusers learn from them and are measured on: candidates by the stage that serves, grades, and the products' vectors.

Letters: N products, C candidates, Q queries.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from intarsia.engine.retrieve import RetrieveStage
from intarsia.evaluation.metrics import metric_values, split_metric
from intarsia.evaluation.qrels import Order, Qrels, grade_orders
from intarsia.fusion.ensemble.cross_fit import CrossFitFuser
from intarsia.fusion.protocol import Fuser, FusionTrainingData, ProductVectors
from intarsia.maths.arrays import Floats
from intarsia.names import TEXT_RETRIEVERS
from intarsia.records.candidates import Candidates, best_first
from intarsia.records.query import EncodedQuery

_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedQueries:
    """The judged queries of one split, encoded once, so that they can be asked of several catalogs."""

    query_ids: tuple[str, ...]
    encoded: Sequence[EncodedQuery]
    qrels: Sequence[Qrels]

    def of(self, retrieve: RetrieveStage) -> list[Candidates]:
        """Their candidates; where only judged products may compete, those of each query in the catalog."""
        if not retrieve.config.judged_only:
            return [retrieve.retrieve([one])[0] for one in self.encoded]
        judged = [one.rows_J[one.rows_J >= 0] for one in self.qrels]
        return [retrieve.retrieve([one], among=[rows])[0] for one, rows in zip(self.encoded, judged, strict=True)]

    def training_data(self, candidates: Sequence[Candidates], products: ProductVectors | None) -> FusionTrainingData:
        """These queries with some candidates of theirs."""
        return FusionTrainingData(
            query_ids=self.query_ids,
            candidates=candidates,
            grades=[one.grades_of(each.rows_C) for one, each in zip(self.qrels, candidates, strict=True)],
            judged=[one.grades_J for one in self.qrels],
            products=products,
        )


def without_images(candidates: Candidates) -> Candidates:
    """The candidates as if no retriever that reads pictures existed: their columns, and what only they brought, are gone."""
    keep_R = [r for r, name in enumerate(candidates.retrievers) if name in TEXT_RETRIEVERS]
    words = replace(
        candidates,
        retrievers=tuple(candidates.retrievers[r] for r in keep_R),
        scores_CR=np.ascontiguousarray(candidates.scores_CR[:, keep_R]),
        ranks_CR=np.ascontiguousarray(candidates.ranks_CR[:, keep_R]),
        views_C=np.full(len(candidates.rows_C), -1, np.int32),
        query_vectors={name: vector for name, vector in candidates.query_vectors.items() if name in TEXT_RETRIEVERS},
    )
    return words.only(np.asarray((words.ranks_CR > 0).any(axis=1)))


def vectors_without_images(products: ProductVectors) -> ProductVectors:
    """The products as if none had a picture."""
    has_N2 = products.has_N2.copy()
    has_N2[:, 1] = False
    return replace(products, image_NE=np.zeros_like(products.image_NE), has_N2=has_N2)


def fused_order(fuser: Fuser, candidates: Candidates) -> Order:
    """Product rows by fused score, best first; nothing of nothing."""
    if not len(candidates.rows_C):
        return _NO_ROWS
    fused = fuser.fuse(candidates)
    assert fused.fused_C is not None
    return fused.rows_C[best_first(fused.fused_C, fused.rows_C)]


def measure(
    fuser: Fuser, candidates: Sequence[Candidates], qrels: Sequence[Qrels], metric: str
) -> tuple[Floats, float]:
    """A metric such as ndcg@10 of each query, [Q], NaN where nothing is relevant; and the median milliseconds of one query's fusing."""
    orders, times_ms = [], []
    for each in candidates:
        started_s = time.perf_counter()
        orders.append(fused_order(fuser, each))
        times_ms.append(1000.0 * (time.perf_counter() - started_s))
    return _values(orders, qrels, metric), float(np.median(times_ms)) if times_ms else 0.0


def out_of_fold_metric(
    fuser: CrossFitFuser, asked: EncodedQueries, candidates: Sequence[Candidates], metric: str
) -> Floats:
    """The metric of each train query, [Q], as `measure` gives it, by the fuser that was fitted without the query's fold."""
    pairs = zip(asked.query_ids, candidates, strict=True)
    return _values([fused_order(fuser.out_of_fold(query_id), each) for query_id, each in pairs], asked.qrels, metric)


def _values(orders: Sequence[Order], qrels: Sequence[Qrels], metric: str) -> Floats:
    return metric_values(metric, grade_orders(orders, qrels, split_metric(metric)[1]))
