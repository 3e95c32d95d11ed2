"""Judged queries with candidates whose best fusion weights are known: for tests that measure or search fusions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from intarsia.evaluation.qrels import Qrels
from intarsia.experiments.fusion_objective import PackedCandidates
from intarsia.fusion.spec import QUERY_KINDS
from intarsia.ids import ReleaseId
from intarsia.records.candidates import Candidates
from intarsia.records.judgment import QueryKind

RETRIEVERS = ("bm25", "text", "image")
NUM_CANDIDATES = 60
NUM_RELEVANT = 6
ALL_EQUAL: Mapping[QueryKind, tuple[float, float, float]] = {
    "text": (1.0, 1.0, 0.0),
    "image": (0.0, 0.0, 1.0),
    "both": (1.0, 1.0, 1.0),
}


def task(
    seed: int, *, num_queries: int = 90, true_weights: Mapping[QueryKind, tuple[float, float, float]] = ALL_EQUAL
) -> PackedCandidates:
    """Packed candidates of `judged`; the kinds of queries alternate."""
    return PackedCandidates.of(*judged(seed, num_queries=num_queries, true_weights=true_weights))


def judged(
    seed: int, *, num_queries: int = 90, true_weights: Mapping[QueryKind, tuple[float, float, float]] = ALL_EQUAL
) -> tuple[list[Candidates], list[Qrels]]:
    """Candidates and judgments. The relevant candidates have the highest weighted sums of three independent scores.

    The weights depend on the kind of the query. Each retriever returns one of the scores on its own scale, or NaN if
    it cannot read this kind of query.
    """
    rng = np.random.default_rng(seed)
    kinds = [QUERY_KINDS[number % len(QUERY_KINDS)] for number in range(num_queries)]
    queries = [_judged(rng, kind, np.array(true_weights[kind])) for kind in kinds]
    return [candidates for candidates, _ in queries], [qrels for _, qrels in queries]


def _judged(rng: np.random.Generator, kind: QueryKind, weights_R: np.ndarray) -> tuple[Candidates, Qrels]:
    known_CR = rng.normal(size=(NUM_CANDIDATES, len(RETRIEVERS)))
    scores_CR = (known_CR * [4.0, 0.1, 0.1] + [10.0, 0.3, 0.3]).astype(np.float32)
    scores_CR[:, {"text": [2], "image": [0, 1], "both": []}[kind]] = np.nan
    ranks_CR = 1 + np.argsort(np.argsort(-scores_CR, axis=0), axis=0)
    best = np.sort(np.argsort(-(known_CR @ weights_R))[:NUM_RELEVANT])
    candidates = Candidates(
        release_id=ReleaseId("r-1"),
        rows_C=np.arange(NUM_CANDIDATES, dtype=np.int64),
        retrievers=RETRIEVERS,
        scores_CR=scores_CR,
        ranks_CR=np.where(np.isnan(scores_CR), 0, ranks_CR).astype(np.int32),
        views_C=np.zeros(NUM_CANDIDATES, np.int32),
    )
    return candidates, Qrels(rows_J=best.astype(np.int64), grades_J=np.full(NUM_RELEVANT, 2.0))
