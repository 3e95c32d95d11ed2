"""Reciprocal rank fusion: fusion by ranks. It needs no comparable scores, and ignores score differences."""

from __future__ import annotations

import numpy as np

from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.spec import FusionSpec
from intarsia.maths.arrays import Floats


def fuse_reciprocal_rank(spec: FusionSpec, batch: CandidateBatch, weights_RG: Floats) -> Floats:
    """Fuse by reciprocal ranks: each retriever adds weight / (k + rank) to the candidates it returned.

    Args:
        spec: `rrf_k` is k; 60 in the paper, a larger value makes the first ranks more alike.
        batch: n candidates of G queries; rank 1 is best, 0 means the retriever did not return the candidate.
        weights_RG: float64 [R, G], 0 or more.

    Returns:
        float64 [n], higher is better; equal ranks give equal scores.

    Source: Cormack, Clarke and Büttcher, SIGIR 2009, eq. 1. doi:10.1145/1571941.1572114
    """
    fused_n = np.zeros(len(batch.rows_n))
    for ranks_n, weights_G in zip(batch.ranks_Rn, weights_RG, strict=True):
        reciprocal_n = np.where(ranks_n > 0, 1.0 / (spec.rrf_k + ranks_n), 0.0)
        fused_n += np.repeat(weights_G, batch.groups.lengths_G) * reciprocal_n
    return fused_n
