"""Judged queries packed for fitting: their candidates as flat arrays, the grades, and what a fused order is worth (nDCG).

A fit inside this room measures by this file; reports measure by `evaluation/`, which says the same.
Letters: n candidates of all queries, G queries, K positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import DataError
from intarsia.fusion.batch import CandidateBatch, pack
from intarsia.fusion.fuser import FusedBatch
from intarsia.fusion.protocol import FusionTrainingData
from intarsia.maths.arrays import Floats
from intarsia.maths.grouped import Groups
from intarsia.maths.ndcg import dcg, exponential_gain, mean_known, ndcg_by_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedTrainingData:
    """Lessons as arrays.

    Attributes:
        query_ids: of the G queries.
        batch: their candidates.
        grades_n: grade of each candidate, 0 where nobody judged.
        judged: all judged grades of each query, found or not.
    """

    query_ids: tuple[str, ...]
    batch: CandidateBatch
    grades_n: Floats
    judged: tuple[Floats, ...]

    @staticmethod
    def of(training_data: FusionTrainingData) -> PackedTrainingData:
        """The lessons, packed."""
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
        """The queries with the flag."""
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
        """What the best order of all judged products gains in its first k positions: float64 [G]."""
        ideal_GK = np.zeros((len(self.judged), k))
        for ideal_K, grades in zip(ideal_GK, self.judged, strict=True):
            best = -np.sort(-exponential_gain(grades))[:k]
            ideal_K[: len(best)] = best
        return dcg(ideal_GK)

    def mean_ndcg(self, fused: FusedBatch, k: int) -> float:
        """The mean over the queries to which something is relevant; 0 without any."""
        return mean_known(self.ndcg_G(fused, k), without_any=0.0)


@dataclass(frozen=True, slots=True)
class ListGains:
    """What any scores of some candidates are worth: the gains of these, and the best that their queries allow.

    Attributes:
        groups: which candidates are of one query.
        gains_n: of each candidate.
        ideal_dcg_G: discounted gain of the best order, in the first k positions.
        k: positions that count.
    """

    groups: Groups
    gains_n: Floats
    ideal_dcg_G: Floats
    k: int

    def ndcg_G(self, scores_n: NDArray[np.floating]) -> Floats:
        """nDCG@k of each query; NaN where nothing is relevant."""
        return ndcg_by_scores(scores_n, self.gains_n, self.groups, self.k, ideal_dcg_G=self.ideal_dcg_G)


def select(training_data: FusionTrainingData, at: Sequence[int]) -> FusionTrainingData:
    """The queries at some places, in that order; a place may come more than once."""
    return replace(
        training_data,
        query_ids=tuple(training_data.query_ids[i] for i in at),
        candidates=[training_data.candidates[i] for i in at],
        grades=[training_data.grades[i] for i in at],
        judged=[training_data.judged[i] for i in at],
    )


def check_training_data(name: str, training_data: FusionTrainingData) -> None:
    """Refuse lessons that teach nothing.

    Raises:
        DataError: no candidate of any query has a grade above 0.
    """
    if not any((grades > 0).any() for grades in training_data.grades):
        raise DataError(
            table="judgments",
            field="grade",
            found=f"none above 0 among the candidates of the {len(training_data.query_ids)} {name} queries",
            allowed="some relevant candidate",
            fix="judge more queries, or choose a kind of fusion that is not fitted",
        )
