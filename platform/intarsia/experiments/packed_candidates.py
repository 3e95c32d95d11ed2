"""The candidates of judged queries with the grade of each, packed: what any fusion can be measured on in milliseconds.

Letters: n candidates of all queries, Q queries, J judged products of the query that has most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from intarsia.evaluation.metrics import Gain, ndcg_at_k
from intarsia.evaluation.qrels import GradedOrders, Qrels, judged_grades
from intarsia.fusion.batch import CandidateBatch, pack
from intarsia.fusion.fuser import fuse_batch, query_kinds
from intarsia.fusion.spec import QUERY_KINDS, FusionSpec
from intarsia.maths.arrays import Floats
from intarsia.maths.ndcg import mean_known
from intarsia.maths.simplex import simplex_grid
from intarsia.records.candidates import Candidates
from intarsia.records.judgment import QueryKind

_LEAN_STEPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedCandidates:
    """All that measuring a fusion on some judged queries needs.

    Attributes:
        batch: their candidates.
        grades_n: grade of each candidate, 0 where nobody judged.
        judged_QJ: all judged grades of each query, highest first, padded with zeros.
    """

    batch: CandidateBatch
    grades_n: Floats
    judged_QJ: Floats

    @staticmethod
    def of(candidates: Sequence[Candidates], qrels: Sequence[Qrels]) -> PackedCandidates:
        """From the candidates and the judgments of the same queries."""
        grades = [one.grades_of(each.rows_C) for each, one in zip(candidates, qrels, strict=True)]
        return PackedCandidates(
            batch=pack(candidates), grades_n=np.concatenate([np.empty(0), *grades]), judged_QJ=judged_grades(qrels)
        )

    def ndcg(self, spec: FusionSpec, k: int, gain: Gain = "exponential") -> Floats:
        """nDCG@k of a fusion for each query, [Q]; NaN where nothing is relevant."""
        fused = fuse_batch(spec, self.batch)
        positions_QK = fused.batch.groups.top_positions(fused.fused_n, k)
        grades_n = np.append(self.grades_n[fused.kept_n], 0.0)  # position -1, behind a query's last, has grade 0
        return ndcg_at_k(GradedOrders(grades_QK=grades_n[positions_QK], judged_QJ=self.judged_QJ), k, gain)

    def alone(self, retriever: str) -> PackedCandidates:
        """The same queries, when only one retriever is asked."""
        at = self.batch.retrievers.index(retriever)
        grades_n = self.grades_n[self.batch.ranks_Rn[at] > 0]
        return replace(self, batch=self.batch.only_retriever(retriever), grades_n=grades_n)

    def of_kind(self, kind: QueryKind) -> PackedCandidates:
        """The queries of one kind."""
        keep_Q = query_kinds(self.batch) == kind
        grades_n = self.grades_n[np.repeat(keep_Q, self.batch.groups.lengths_G)]
        return PackedCandidates(
            batch=self.batch.only_queries(keep_Q), grades_n=grades_n, judged_QJ=self.judged_QJ[keep_Q]
        )


def weigh_by_kind(spec: FusionSpec, task: PackedCandidates, *, k: int, num_steps: int, min_queries: int) -> FusionSpec:
    """The same fusion with weights of its own for each kind of query that gains by them on the task.

    Args:
        spec: of kind equal, it becomes convex when some kind of query gains.
        task: the train queries.
        k: of the nDCG.
        num_steps: weights tried are all those that sum to 1 in steps of 1 / num_steps.
        min_queries: a kind with fewer keeps the common weights: the best of many on few queries is luck.
    """
    common = spec.weights or dict.fromkeys(task.batch.retrievers, 1.0)
    weighted = replace(spec, kind="convex" if spec.kind == "equal" else spec.kind, weights=common, weights_by_kind={})
    by_kind: dict[QueryKind, Mapping[str, float]] = {}
    kinds_Q = query_kinds(task.batch)
    for kind in QUERY_KINDS:
        if np.count_nonzero(kinds_Q == kind) < min_queries:
            continue
        part = task.of_kind(kind)
        options = [common, *_weight_grid(part.batch, num_steps)]
        scores = [mean_known(part.ndcg(replace(weighted, weights=weights), k)) for weights in options]
        best = int(np.argmax(np.nan_to_num(scores)))
        if best > 0:
            by_kind[kind] = options[best]
    return replace(weighted, weights_by_kind=by_kind) if by_kind else spec


def shrink_to_uniform(spec: FusionSpec, tasks: Sequence[PackedCandidates], *, k: int, may_lose: float) -> FusionSpec:
    """The same fusion with weights as near to equal as some queries allow: what to do with queries that flatter one retriever.

    Args:
        spec: the best fusion by those queries.
        tasks: the queries.
        k: of the nDCG.
        may_lose: share of what their mean nDCG@k lacks to 1 by which it may be worse.
    """
    total = sum(spec.weights.values())
    if spec.kind == "equal" or not total:
        return spec
    names = tasks[0].batch.retrievers

    def worth(fusion: FusionSpec) -> float:
        return mean_known(np.concatenate([task.ndcg(fusion, k) for task in tasks]))

    best = worth(spec)
    least = best - may_lose * (1.0 - best)
    for step in range(_LEAN_STEPS, 0, -1):
        lean = step / _LEAN_STEPS
        weights = {name: (1 - lean) * spec.weights.get(name, 0.0) / total + lean / len(names) for name in names}
        leaning = replace(spec, weights=weights, weights_by_kind={})
        if worth(leaning) >= least:
            return leaning
    return spec


def _weight_grid(batch: CandidateBatch, num_steps: int) -> Iterator[dict[str, float]]:
    """Weights over the retrievers that can score something here; the others weigh 0."""
    names = [n for n, scores_n in zip(batch.retrievers, batch.scores_Rn, strict=True) if np.isfinite(scores_n).any()]
    for steps in simplex_grid(len(names), num_steps):
        shares = {name: step / num_steps for name, step in zip(names, steps, strict=True)}
        yield {name: shares.get(name, 0.0) for name in batch.retrievers}
