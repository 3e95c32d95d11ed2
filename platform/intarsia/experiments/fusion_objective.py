"""The objective of the fusion search: nDCG of a fusion on judged queries, out of fold if the fusion is fitted.

Packed candidates measure a fusion without fitted parts in milliseconds.
Letters: n candidates of all queries, Q queries, J judged products of the query that has most, K positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from intarsia.evaluation.metrics import Gain, ndcg_at_k
from intarsia.evaluation.qrels import GradedOrders, Qrels, judged_grades
from intarsia.experiments.fusion_training_data import fused_order
from intarsia.fusion.batch import CandidateBatch, pack
from intarsia.fusion.fuser import fuse_batch, query_kinds
from intarsia.fusion.method import MethodConfig
from intarsia.fusion.protocol import Fuser, FusionTrainingData
from intarsia.fusion.registry import fit_fuser
from intarsia.fusion.spec import QUERY_KINDS, FusionSpec
from intarsia.fusion.training_data import select_queries
from intarsia.ids import fold_of
from intarsia.maths.arrays import Floats
from intarsia.maths.ndcg import mean_known
from intarsia.maths.simplex import simplex_grid
from intarsia.records.candidates import Candidates
from intarsia.records.judgment import QueryKind

_SHRINKAGE_STEPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedCandidates:
    """The candidates of judged queries in flat arrays, with their grades.

    Attributes:
        batch: the candidates.
        grades_n: grade of each candidate, 0 if it was not judged.
        judged_QJ: all judged grades of each query, highest first, padded with zeros.
    """

    batch: CandidateBatch
    grades_n: Floats
    judged_QJ: Floats

    @staticmethod
    def of(candidates: Sequence[Candidates], qrels: Sequence[Qrels]) -> PackedCandidates:
        """Pack the candidates and the judgments of the same queries."""
        grades = [judged.grades_of(c.rows_C) for c, judged in zip(candidates, qrels, strict=True)]
        return PackedCandidates(
            batch=pack(candidates), grades_n=np.concatenate([np.empty(0), *grades]), judged_QJ=judged_grades(qrels)
        )

    def ndcg(self, spec: FusionSpec, k: int, gain: Gain = "exponential") -> Floats:
        """nDCG@k of a fusion for each query: float64 [Q]; NaN without a relevant product."""
        fused = fuse_batch(spec, self.batch)
        positions_QK = fused.batch.groups.top_positions(fused.fused_n, k)
        grades_n = np.append(self.grades_n[fused.kept_n], 0.0)  # position -1, behind a query's last, has grade 0
        return ndcg_at_k(GradedOrders(grades_QK=grades_n[positions_QK], judged_QJ=self.judged_QJ), k, gain)

    def only_retriever(self, retriever: str) -> PackedCandidates:
        """The candidates that one retriever returned, with its scores only."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialData:
    """The data of a trial.

    Attributes:
        packed: the packed train queries, for fusions without fitted parts.
        train: the train queries as training data; required by fitted methods.
        validation: the validation queries, which stop a fit; required by fitted methods.
    """

    packed: PackedCandidates
    train: FusionTrainingData | None = None
    validation: FusionTrainingData | None = None


def score_config(config: MethodConfig, data: TrialData, *, k: int, num_folds: int, seed: int) -> Iterator[float]:
    """Mean nDCG@k on the train queries; the last value is final.

    A method without fitted parts gives one value. A fitted method is fitted once per fold, without that fold's queries,
    and each value is the mean over the folds so far, so that a search can stop a trial early.
    """
    if isinstance(config, FusionSpec):
        yield mean_known(data.packed.ndcg(config, k))
        return
    assert data.train is not None and data.validation is not None
    fold_Q = np.array([fold_of(name, num_folds) for name in data.train.query_ids])
    values: list[Floats] = []
    for fold in range(num_folds):
        others, held_out = (
            select_queries(data.train, np.flatnonzero(mask_Q).tolist()) for mask_Q in (fold_Q != fold, fold_Q == fold)
        )
        values.append(fuser_ndcg(fit_fuser(config, others, data.validation, seed), held_out, k))
        yield mean_known(np.concatenate(values))


def fuser_ndcg(fuser: Fuser, training_data: FusionTrainingData, k: int) -> Floats:
    """nDCG@k of each query in the order of any fuser: float64 [Q]; NaN without a relevant product."""
    grades_QK = np.zeros((len(training_data.query_ids), k))
    judged_QJ = np.zeros((len(training_data.query_ids), max(map(len, training_data.judged), default=0)))
    for query, (candidates, grades_C) in enumerate(zip(training_data.candidates, training_data.grades, strict=True)):
        judged_QJ[query, : len(training_data.judged[query])] = -np.sort(-training_data.judged[query])
        rows = fused_order(fuser, candidates)[:k]
        grades_QK[query, : len(rows)] = grades_C[np.searchsorted(candidates.rows_C, rows)]
    return ndcg_at_k(GradedOrders(grades_QK=grades_QK, judged_QJ=judged_QJ), k)


def weigh_by_kind(
    spec: FusionSpec, packed: PackedCandidates, *, k: int, num_steps: int, min_queries: int
) -> FusionSpec:
    """The same fusion with separate weights for each kind of query that gains by them on these queries.

    Args:
        spec: a fusion; kind `equal` becomes `convex` when some kind of query gains.
        packed: the train queries.
        k: cutoff of the nDCG.
        num_steps: the grid holds all weights that sum to 1 in steps of 1 / num_steps.
        min_queries: a kind with fewer queries keeps the common weights: the best of many weights on few queries is
            noise.
    """
    common = spec.weights or dict.fromkeys(packed.batch.retrievers, 1.0)
    weighted = replace(spec, kind="convex" if spec.kind == "equal" else spec.kind, weights=common, weights_by_kind={})
    by_kind: dict[QueryKind, Mapping[str, float]] = {}
    kinds_Q = query_kinds(packed.batch)
    for kind in QUERY_KINDS:
        if np.count_nonzero(kinds_Q == kind) < min_queries:
            continue
        part = packed.of_kind(kind)
        options = [common, *_weight_grid(part.batch, num_steps)]
        scores = [mean_known(part.ndcg(replace(weighted, weights=weights), k)) for weights in options]
        best = int(np.argmax(np.nan_to_num(scores)))
        if best > 0:
            by_kind[kind] = options[best]
    return replace(weighted, weights_by_kind=by_kind) if by_kind else spec


def shrink_to_uniform(spec: FusionSpec, splits: Sequence[PackedCandidates], *, k: int, max_loss: float) -> FusionSpec:
    """Move the weights of a fusion towards equal weights, as far as the nDCG allows.

    This is for queries that favour one retriever, such as synthetic ones.

    Args:
        spec: the best fusion on those queries.
        splits: the queries.
        k: cutoff of the nDCG.
        max_loss: largest loss of mean nDCG@k, as a share of (1 - nDCG@k).
    """
    total = sum(spec.weights.values())
    if spec.kind == "equal" or not total:
        return spec
    names = splits[0].batch.retrievers

    def mean_ndcg(fusion: FusionSpec) -> float:
        return mean_known(np.concatenate([packed.ndcg(fusion, k) for packed in splits]))

    best = mean_ndcg(spec)
    lowest_allowed = best - max_loss * (1.0 - best)
    for step in range(_SHRINKAGE_STEPS, 0, -1):
        shrinkage = step / _SHRINKAGE_STEPS
        weights = {
            name: (1 - shrinkage) * spec.weights.get(name, 0.0) / total + shrinkage / len(names) for name in names
        }
        shrunk = replace(spec, weights=weights, weights_by_kind={})
        if mean_ndcg(shrunk) >= lowest_allowed:
            return shrunk
    return spec


def _weight_grid(batch: CandidateBatch, num_steps: int) -> Iterator[dict[str, float]]:
    """Weights over the retrievers that scored at least one candidate; the others have weight 0."""
    names = [n for n, scores_n in zip(batch.retrievers, batch.scores_Rn, strict=True) if np.isfinite(scores_n).any()]
    for steps in simplex_grid(len(names), num_steps):
        shares = {name: step / num_steps for name, step in zip(names, steps, strict=True)}
        yield {name: shares.get(name, 0.0) for name in batch.retrievers}
