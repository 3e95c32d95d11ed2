"""Pseudo relevance feedback: what the best fused candidates look like, as one vector, and how near each candidate is to it.

A query of words has no picture, but its first answers have: their mean stands in for one.

Letters: C candidates, D width, V vectors (views) of one product.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from intarsia.maths.unit_vectors import direction_of
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
    views = {int(at): vectors.vectors_of(int(candidates.rows_C[at])) for at in best}
    means = {
        at: views_VD.sum(axis=0, dtype=np.float64) / len(views_VD) for at, views_VD in views.items() if len(views_VD)
    }
    if not means:
        return similar_C
    total_D = np.sum(list(means.values()), axis=0)
    if (like_D := direction_of(total_D)) is not None:
        similar_C[:] = vectors.score_rows(like_D, candidates.rows_C)[0]
    for at, mean_D in means.items():
        others_D = direction_of(total_D - mean_D) if len(means) > 1 else None
        similar_C[at] = np.nan if others_D is None else np.vecdot(views[at], others_D).max()
    return similar_C
