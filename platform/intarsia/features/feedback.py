"""Pseudo relevance feedback: what the best fused candidates look like, as one vector, and how near each candidate is to it.

A query of words has no picture, but its first answers have: their mean stands in for one.

Letters: C candidates, D width, V vectors (views) of one product.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from intarsia.records.candidates import Candidates, best_first

NUM_TRUSTED = 8
"""Best fused candidates that are taken for relevant."""


class FeedbackVectors(Protocol):
    """The stored vectors of one space; every vector index is one."""

    def vectors_of(self, row: int) -> NDArray[np.float32]:
        """float32 [V, D], a row's vectors in view order; [0, D] without any."""
        ...

    def score_rows(
        self, query_D: NDArray[np.float32], rows_C: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """(cosine, best view) of given rows, bitwise the same whatever their neighbours; (NaN, -1) for a row without vectors."""
        ...


def similarity_to_the_best(candidates: Candidates, vectors: FeedbackVectors) -> NDArray[np.float64]:
    """Cosine of each candidate to the unit mean of the trusted candidates, float64 [C]; NaN without vectors or before fusion.

    A trusted candidate is compared with the mean of the *others*: its own vector says nothing of how well it fits them.
    """
    similar_C = np.full(len(candidates.rows_C), np.nan)
    if candidates.fused_C is None:
        return similar_C
    best = best_first(candidates.fused_C, candidates.rows_C)[:NUM_TRUSTED]
    means = {int(at): mean for at in best if (mean := _mean_vector(candidates, int(at), vectors)) is not None}
    if not means:
        return similar_C
    similar_C[:] = _score(np.sum(list(means.values()), axis=0), candidates.rows_C, vectors)
    for at in means:
        others = [mean for other, mean in means.items() if other != at]
        own_row = candidates.rows_C[at : at + 1]
        similar_C[at] = _score(np.sum(others, axis=0), own_row, vectors)[0] if others else np.nan
    return similar_C


def _mean_vector(candidates: Candidates, at: int, vectors: FeedbackVectors) -> NDArray[np.float64] | None:
    vectors_VD = vectors.vectors_of(int(candidates.rows_C[at]))
    if not len(vectors_VD):
        return None
    return np.asarray(vectors_VD.mean(axis=0, dtype=np.float64))


def _score(sum_D: NDArray[np.float64], rows_C: NDArray[np.int64], vectors: FeedbackVectors) -> NDArray[np.float32]:
    norm = float(np.sqrt(np.vecdot(sum_D, sum_D)))
    if norm == 0.0:
        return np.full(len(rows_C), np.nan, np.float32)
    return vectors.score_rows((sum_D / norm).astype(np.float32), rows_C)[0]
