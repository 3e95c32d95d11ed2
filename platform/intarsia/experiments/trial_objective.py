"""What a fusion with some settings is worth on judged queries: as it is, where nothing is fitted, else on queries its fit never saw.

Letters: Q queries, K positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from intarsia.evaluation.metrics import ndcg_at_k
from intarsia.evaluation.qrels import GradedOrders
from intarsia.experiments.packed_candidates import PackedCandidates
from intarsia.fusion.method import MethodConfig
from intarsia.fusion.protocol import Fuser, FusionTrainingData
from intarsia.fusion.registry import fit_fuser
from intarsia.fusion.spec import FusionSpec
from intarsia.fusion.training_data import select_queries
from intarsia.ids import fold_of
from intarsia.maths.arrays import Floats
from intarsia.maths.ndcg import mean_known
from intarsia.records.candidates import best_first


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLessons:
    """What trials are measured on.

    Attributes:
        task: the train queries, packed: a fusion that is not fitted is measured on them in milliseconds.
        train: the same as lessons; needed by kinds that are fitted.
        validation: when such a fit stops.
    """

    task: PackedCandidates
    train: FusionTrainingData | None = None
    validation: FusionTrainingData | None = None


def score_config(
    config: MethodConfig, training_data: TrialLessons, *, k: int, num_folds: int, seed: int
) -> Iterator[float]:
    """Mean nDCG@k on the train queries, better known each time; the last value is final.

    A kind without fitted parts gives one value. One that is fitted is fitted without each fold's queries in turn, and gives the mean over
    the queries of the folds so far: so a search can stop it early.
    """
    if isinstance(config, FusionSpec):
        yield mean_known(training_data.task.ndcg(config, k))
        return
    assert training_data.train is not None and training_data.validation is not None
    folds = np.array([fold_of(name, num_folds) for name in training_data.train.query_ids])
    values: list[Floats] = []
    for fold in range(num_folds):
        others, mine = (
            select_queries(training_data.train, np.flatnonzero(part).tolist())
            for part in (folds != fold, folds == fold)
        )
        values.append(ndcg_of(fit_fuser(config, others, training_data.validation, seed), mine, k))
        yield mean_known(np.concatenate(values))


def ndcg_of(fuser: Fuser, training_data: FusionTrainingData, k: int) -> Floats:
    """nDCG@k of each query as any fuser orders its candidates: [Q], NaN where nothing is relevant."""
    grades_QK = np.zeros((len(training_data.query_ids), k))
    judged_QJ = np.zeros((len(training_data.query_ids), max((len(one) for one in training_data.judged), default=0)))
    for query, (candidates, grades_C) in enumerate(zip(training_data.candidates, training_data.grades, strict=True)):
        judged_QJ[query, : len(training_data.judged[query])] = -np.sort(-training_data.judged[query])
        if len(candidates.rows_C):
            fused = fuser.fuse(candidates)
            assert fused.fused_C is not None
            rows = fused.rows_C[best_first(fused.fused_C, fused.rows_C)[:k]]
            grades_QK[query, : len(rows)] = grades_C[np.searchsorted(candidates.rows_C, rows)]
    return ndcg_at_k(GradedOrders(grades_QK=grades_QK, judged_QJ=judged_QJ), k)
