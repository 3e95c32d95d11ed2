"""The third stage: from the best fused candidates to the final order and the page.

Letters: C candidates of one query, n rows of a batch, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from intarsia.errors import ReleaseMismatch
from intarsia.features.assemble import Assembler
from intarsia.features.definition import FeatureSet
from intarsia.ids import ReleaseId
from intarsia.maths.arrays import Float32s, Ints
from intarsia.ranking.protocol import Ranker
from intarsia.records.candidates import Candidates, best_first
from intarsia.records.feature_matrix import FeatureMatrix, matrix_digest
from intarsia.records.page import Hit, Page
from intarsia.records.query import EncodedQuery, Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """The candidates of one query in their final order.

    Attributes:
        candidates: the `rank_depth` best fused ones.
        order_C: positions into `candidates`, best first.
        scores_C: in that order.
        contributions: index in the order, from 0 -> feature -> contribution to the score; the bias is under `""`.
        degraded: the ranker's degraded entry, if it did not answer.
        digest: `matrix_digest` of the feature matrix; empty if the ranker did not answer.
    """

    candidates: Candidates
    order_C: Ints
    scores_C: Float32s
    contributions: Mapping[int, Mapping[str, float]]
    degraded: tuple[str, ...] = ()
    digest: bytes = b""

    def page(self, query: Query) -> Page:
        """Return the slice of the order that the query's offset and limit select."""
        candidates = self.candidates
        assert candidates.fused_C is not None
        hits = []
        for index in range(query.offset, min(query.offset + query.limit, len(self.order_C))):
            c = int(self.order_C[index])
            ranks_R = candidates.ranks_CR[c]
            image_number = int(candidates.views_C[c])
            hits.append(
                Hit(
                    row=int(candidates.rows_C[c]),
                    position=index + 1,
                    score=float(self.scores_C[index]),
                    fused=float(candidates.fused_C[c]),
                    retrievers={
                        name: int(rank) for name, rank in zip(candidates.retrievers, ranks_R, strict=True) if rank > 0
                    },
                    image_number=image_number if image_number >= 0 else None,
                    contributions=self.contributions.get(index),
                )
            )
        return Page(
            request_id=query.request_id,
            release_id=candidates.release_id,
            hits=tuple(hits),
            total=candidates.num_matches,
            reachable=len(self.order_C),
            facets=candidates.facets,
            degraded=(*candidates.degraded, *self.degraded),
        )


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
                f"{self.features.fingerprint[:12]}. Fix: run build_training_rows and train_ranker again"
            )

    def rank(self, queries: Sequence[Query], candidates: Sequence[Candidates]) -> list[Ranked]:
        """Score the `rank_depth` best fused candidates of each query.

        Features read the query vectors that retrieval used: those of the candidates. Contributions are computed only
        for the hits on the page of a query with `explain`.

        Raises:
            ReleaseMismatch: candidates of another release.
        """
        kept = [self._best_of_release(of_query) for of_query in candidates]
        if not any(len(of_query.rows_C) for of_query in kept):
            empty_digest = self._digest(np.empty(0, np.int64), np.empty((0, len(self.features.names)), np.float32))
            return [replace(in_fused_order(of_query, self.rank_depth), digest=empty_digest) for of_query in kept]
        encoded = [
            EncodedQuery(query=query, vectors=of_query.query_vectors)
            for query, of_query in zip(queries, kept, strict=True)
        ]
        matrix = self.features.compute(self.assembler.assemble(encoded, kept))
        scores_n = self.ranker.score(matrix)
        offsets = np.concatenate([[0], np.cumsum([len(of_query.rows_C) for of_query in kept])])
        return [
            self._order(query, of_query, scores_n[start:stop], matrix.values_nF[start:stop])
            for query, of_query, start, stop in zip(queries, kept, offsets[:-1], offsets[1:], strict=True)
        ]

    def _best_of_release(self, candidates: Candidates) -> Candidates:
        candidates.check_release(self.release_id)
        return best_fused(candidates, self.rank_depth)

    def _order(self, query: Query, candidates: Candidates, scores_C: Float32s, values_CF: Float32s) -> Ranked:
        order_C = best_first(scores_C, candidates.rows_C)
        contributions: dict[int, Mapping[str, float]] = {}
        page_c = order_C[query.offset : query.offset + query.limit] if query.explain else order_C[:0]
        if len(page_c):
            matrix = FeatureMatrix(
                values_nF=np.ascontiguousarray(values_CF[page_c]),
                names=self.features.names,
                fingerprint=self.features.fingerprint,
            )
            names = (*self.features.names, "")
            contributions = {
                query.offset + i: dict(zip(names, row.tolist(), strict=True))
                for i, row in enumerate(self.ranker.contributions(matrix))
            }
        return Ranked(
            candidates=candidates,
            order_C=order_C,
            scores_C=scores_C[order_C],
            contributions=contributions,
            digest=self._digest(candidates.rows_C, values_CF),
        )

    def _digest(self, rows_C: Ints, values_CF: Float32s) -> bytes:
        return matrix_digest(self.features.fingerprint, rows_C, values_CF)


def best_fused(candidates: Candidates, depth: int) -> Candidates:
    """Return the `depth` best fused candidates: the input of the ranker, in training and in serving."""
    assert candidates.fused_C is not None, "rank after fuse"
    keep_C = np.zeros(len(candidates.rows_C), np.bool_)
    keep_C[best_first(candidates.fused_C, candidates.rows_C)[:depth]] = True
    return candidates.only(keep_C)


def in_fused_order(candidates: Candidates, depth: int, *, degraded: tuple[str, ...] = ()) -> Ranked:
    """Return the `depth` best fused candidates in fused order: the fallback of the ranker."""
    kept = best_fused(candidates, depth)
    assert kept.fused_C is not None
    order_C = best_first(kept.fused_C, kept.rows_C)
    return Ranked(candidates=kept, order_C=order_C, scores_C=kept.fused_C[order_C], contributions={}, degraded=degraded)
