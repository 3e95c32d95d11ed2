"""Fusion by ranks alone: it needs no scores that can be compared, and ignores how much better the best was."""

from __future__ import annotations

import numpy as np

from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.spec import FusionSpec
from intarsia.maths.arrays import Floats


def fuse_reciprocal_rank(spec: FusionSpec, batch: CandidateBatch, weights_RG: Floats) -> Floats:
    """Reciprocal rank fusion: each retriever adds weight / (k + rank) to what it returned.

    Args:
        spec: gives `rrf_k`; 60 in the paper, larger flattens the top.
        batch: ranks, 1 is best, 0 means this retriever did not return the candidate.
        weights_RG: float64 [R, G], 0 or more.

    Returns:
        float64 [n], higher is better; equal inputs give equal scores.

    Source: Cormack, Clarke and Büttcher, SIGIR 2009, eq. 1. doi:10.1145/1571941.1572114
    """
    fused_n = np.zeros(len(batch.rows_n))
    for ranks_n, weights_G in zip(batch.ranks_Rn, weights_RG, strict=True):
        share_n = np.where(ranks_n > 0, 1.0 / (spec.rrf_k + ranks_n), 0.0)
        fused_n += np.repeat(weights_G, batch.groups.lengths_G) * share_n
    return fused_n
