"""Judged queries packed for fitting: their candidates, grades, nDCG of fused scores, and folds.

Shapes: n candidates of all queries, G queries, K positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import DataError
from intarsia.fusion.batch import CandidateBatch, pack
from intarsia.fusion.fuser import FusedBatch
from intarsia.fusion.protocol import Fuser, FusionTrainingData
from intarsia.ids import fold_of
from intarsia.maths.arrays import Floats
from intarsia.maths.grouped import Groups
from intarsia.maths.ndcg import dcg, exponential_gain, mean_known, ndcg_by_scores

FuserT = TypeVar("FuserT", bound=Fuser)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedTrainingData:
    """`FusionTrainingData` as flat arrays.

    Attributes:
        query_ids: of the G queries.
        batch: their candidates.
        grades_n: grade of each candidate; 0 where nobody judged it.
        judged: all judged grades of each query, whether or not a retriever returned the product.
    """

    query_ids: tuple[str, ...]
    batch: CandidateBatch
    grades_n: Floats
    judged: tuple[Floats, ...]

    @staticmethod
    def of(training_data: FusionTrainingData) -> PackedTrainingData:
        """Pack training data."""
        return PackedTrainingData(
            query_ids=training_data.query_ids,
            batch=pack(training_data.candidates),
            grades_n=np.concatenate([np.empty(0), *training_data.grades]),
            judged=tuple(training_data.judged),
        )

    @property
    def gains_n(self) -> Floats:
        """2^grade - 1 of each candidate."""
        return exponential_gain(self.grades_n)

    def only_queries(self, keep_G: NDArray[np.bool_]) -> PackedTrainingData:
        """Select queries by a mask, bool [G]."""
        kept = keep_G.tolist()
        return PackedTrainingData(
            query_ids=tuple(name for name, keep in zip(self.query_ids, kept, strict=True) if keep),
            batch=self.batch.only_queries(keep_G),
            grades_n=self.grades_n[np.repeat(keep_G, self.batch.groups.lengths_G)],
            judged=tuple(grades for grades, keep in zip(self.judged, kept, strict=True) if keep),
        )

    def ndcg_G(self, fused: FusedBatch, k: int) -> Floats:
        """nDCG@k of each query under a fusion of this batch, gain 2^grade - 1; NaN where nothing is relevant.

        Source: Järvelin and Kekäläinen, TOIS 2002; gain after Burges et al., ICML 2005.
        """
        kept = ListGains(fused.batch.groups, self.gains_n[fused.kept_n], self.ideal_dcg_G(k), k)
        return kept.ndcg_G(fused.fused_n)

    def ideal_dcg_G(self, k: int) -> Floats:
        """DCG@k of the best order of all judged products of each query: float64 [G]."""
        ideal_GK = np.zeros((len(self.judged), k))
        for ideal_K, grades in zip(ideal_GK, self.judged, strict=True):
            best = -np.sort(-exponential_gain(grades))[:k]
            ideal_K[: len(best)] = best
        return dcg(ideal_GK)

    def mean_ndcg(self, fused: FusedBatch, k: int) -> float:
        """Mean nDCG@k over the queries with a relevant product; 0 if there is none."""
        return mean_known(self.ndcg_G(fused, k), without_any=0.0)


@dataclass(frozen=True, slots=True)
class ListGains:
    """Gains of some candidates, to measure any scores of them by nDCG.

    Attributes:
        groups: which candidates belong to which query.
        gains_n: gain of each candidate.
        ideal_dcg_G: DCG of the best order in the first k positions.
        k: number of positions that count.
    """

    groups: Groups
    gains_n: Floats
    ideal_dcg_G: Floats
    k: int

    def ndcg_G(self, scores_n: NDArray[np.floating]) -> Floats:
        """nDCG@k of each query; NaN where nothing is relevant."""
        return ndcg_by_scores(scores_n, self.gains_n, self.groups, self.k, ideal_dcg_G=self.ideal_dcg_G)


def select_queries(training_data: FusionTrainingData, at: Sequence[int]) -> FusionTrainingData:
    """Select queries by position, in the given order; a position may be repeated."""
    return replace(
        training_data,
        query_ids=tuple(training_data.query_ids[i] for i in at),
        candidates=[training_data.candidates[i] for i in at],
        grades=[training_data.grades[i] for i in at],
        judged=[training_data.judged[i] for i in at],
    )


def queries_outside_fold(training_data: FusionTrainingData, fold: int, num_folds: int) -> FusionTrainingData:
    """Select the queries of all folds but one. The fold is a hash of the query id, so all jobs agree on it.

    Raises:
        DataError: none of these queries has a relevant candidate.
    """
    kept = select_queries(
        training_data, [i for i, name in enumerate(training_data.query_ids) if fold_of(name, num_folds) != fold]
    )
    if not any((grades > 0).any() for grades in kept.grades):
        raise DataError(
            table="queries",
            field="query_id",
            found=f"no query with a relevant candidate outside fold {fold} of {num_folds}, "
            f"of {len(training_data.query_ids)} in all",
            allowed="some in at least two folds",
            fix="judge more queries, or use fewer folds",
        )
    return kept


def fit_per_fold(
    fit: Callable[[FusionTrainingData], FuserT], training_data: FusionTrainingData, num_folds: int
) -> tuple[FuserT, ...]:
    """Fit one fuser per fold, each on the queries outside the fold.

    Raises:
        DataError: see `queries_outside_fold`.
    """
    return tuple(fit(queries_outside_fold(training_data, fold, num_folds)) for fold in range(num_folds))


def check_training_data(name: str, training_data: FusionTrainingData) -> None:
    """Check that training data has a relevant candidate; `name` is the split, for the message.

    Raises:
        DataError: no candidate of any query has a grade above 0.
    """
    if not any((grades > 0).any() for grades in training_data.grades):
        raise DataError(
            table="judgments",
            field="grade",
            found=f"none above 0 among the candidates of the {len(training_data.query_ids)} {name} queries",
            allowed="some relevant candidate",
            fix="judge more queries, or choose a fusion method that is not fitted",
        )
