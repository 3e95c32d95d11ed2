"""The third stage: the best fused candidates to their final order, with the share of every feature when asked.

Letters: C candidates of one query, n rows of a batch, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import ReleaseMismatch
from intarsia.features.assemble import Assembler
from intarsia.features.definition import FeatureSet
from intarsia.ids import ReleaseId
from intarsia.ranking.protocol import Ranker
from intarsia.records.candidates import Candidates, best_first
from intarsia.records.feature_matrix import FeatureMatrix, matrix_digest
from intarsia.records.query import EncodedQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """The candidates of one query in their final order, and why.

    `order_C` are positions into `candidates`; `scores_C` are in that order. `contributions` maps a place in the order, from 0, to
    feature -> share of the score, the bias under `""`. `digest` is `matrix_digest` of what the ranker was given; empty when the fused
    order stood in for it.
    """

    candidates: Candidates
    order_C: NDArray[np.int64]
    scores_C: NDArray[np.float32]
    contributions: Mapping[int, Mapping[str, float]]
    degraded: tuple[str, ...] = ()
    digest: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStage:
    """Features and ranker of one release."""

    release_id: ReleaseId
    rank_depth: int
    features: FeatureSet
    assembler: Assembler
    ranker: Ranker

    def __post_init__(self) -> None:
        if self.ranker.feature_fingerprint != self.features.fingerprint:
            raise ReleaseMismatch(
                f"the ranker was trained on features {self.ranker.feature_fingerprint[:12]}, this code computes "
                f"{self.features.fingerprint[:12]}; run build_training_rows and train_ranker again"
            )

    def rank(self, queries: Sequence[EncodedQuery], candidates: Sequence[Candidates]) -> list[Ranked]:
        """Score the best `rank_depth` fused candidates of each query; the shares are computed for those on the page of an explained query.

        Raises:
            ReleaseMismatch: candidates of another release.
        """
        kept = [self._kept(each) for each in candidates]
        if not any(len(each.rows_C) for each in kept):
            of_nothing = self._digest(np.empty(0, np.int64), np.empty((0, len(self.features.names)), np.float32))
            return [replace(in_fused_order(each, self.rank_depth), digest=of_nothing) for each in kept]
        matrix = self.features.compute(self.assembler.assemble(queries, kept))
        scores_n = self.ranker.score(matrix)
        offsets = np.concatenate([[0], np.cumsum([len(each.rows_C) for each in kept])])
        return [
            self._order(query, each, scores_n[start:stop], matrix.values_nF[start:stop])
            for query, each, start, stop in zip(queries, kept, offsets[:-1], offsets[1:], strict=True)
        ]

    def _kept(self, candidates: Candidates) -> Candidates:
        candidates.check_release(self.release_id)
        return best_fused(candidates, self.rank_depth)

    def _order(
        self,
        encoded: EncodedQuery,
        candidates: Candidates,
        scores_C: NDArray[np.float32],
        values_CF: NDArray[np.float32],
    ) -> Ranked:
        order_C = best_first(scores_C, candidates.rows_C)
        query = encoded.query
        contributions: dict[int, Mapping[str, float]] = {}
        shown = order_C[query.offset : query.offset + query.limit] if query.explain else order_C[:0]
        if len(shown):
            matrix = FeatureMatrix(
                values_nF=np.ascontiguousarray(values_CF[shown]),
                names=self.features.names,
                fingerprint=self.features.fingerprint,
            )
            names = (*self.features.names, "")
            shares_nF = self.ranker.contributions(matrix)
            contributions = {
                query.offset + i: dict(zip(names, row.tolist(), strict=True)) for i, row in enumerate(shares_nF)
            }
        return Ranked(
            candidates=candidates,
            order_C=order_C,
            scores_C=scores_C[order_C],
            contributions=contributions,
            digest=self._digest(candidates.rows_C, values_CF),
        )

    def _digest(self, rows_C: NDArray[np.int64], values_CF: NDArray[np.float32]) -> bytes:
        return matrix_digest(self.features.fingerprint, rows_C, values_CF)


def best_fused(candidates: Candidates, depth: int) -> Candidates:
    """The `depth` best fused candidates: what training reads and serving ranks."""
    assert candidates.fused_C is not None, "rank after fuse"
    keep_C = np.zeros(len(candidates.rows_C), np.bool_)
    keep_C[best_first(candidates.fused_C, candidates.rows_C)[:depth]] = True
    return candidates.only(keep_C)


def in_fused_order(candidates: Candidates, depth: int, *, degraded: tuple[str, ...] = ()) -> Ranked:
    """The fallback when the ranker does not answer: the fused order over the same window."""
    kept = best_fused(candidates, depth)
    assert kept.fused_C is not None
    order_C = best_first(kept.fused_C, kept.rows_C)
    return Ranked(candidates=kept, order_C=order_C, scores_C=kept.fused_C[order_C], contributions={}, degraded=degraded)
