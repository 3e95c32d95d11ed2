"""Fusion by scores: a weighted mean of what each retriever thinks, after normalisation.

This is the weighted average of model outputs, and with kind `equal` their plain mean; `weighted.py` finds the weights.

Letters: n candidates of all queries, G queries, R retrievers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.score.normalise import NORMALISERS
from intarsia.fusion.spec import FusionSpec
from intarsia.maths.arrays import Floats


def fuse_convex(spec: FusionSpec, batch: CandidateBatch, weights_RG: Floats) -> Floats:
    """Sum of weight x normalised score; a query's weights, over the retrievers that can score some candidate of it, sum to 1.

    Args:
        spec: gives the normaliser and what a missing score means.
        batch: scores, NaN where a retriever cannot score a candidate.
        weights_RG: float64 [R, G], 0 or more.

    Returns:
        float64 [n], higher is better.
    """
    groups = batch.groups
    normal_Rn, finite_Rn = opinions(spec, batch)
    fused_n, weight_n = np.zeros(len(batch.rows_n)), np.zeros(len(batch.rows_n))
    # one retriever after the other, not .sum(axis=0): the order of additions, so every bit, is the same for any batch
    for normal_n, finite_n, weights_G in zip(normal_Rn, finite_Rn, weights_RG, strict=True):
        used_n = np.where(finite_n, np.repeat(weights_G, groups.lengths_G), 0.0)
        fused_n += used_n * np.where(finite_n, normal_n, 0.0)
        weight_n += used_n
    return np.divide(fused_n, weight_n, out=fused_n, where=weight_n > 0)


def opinions(spec: FusionSpec, batch: CandidateBatch) -> tuple[Floats, NDArray[np.bool_]]:
    """Normalised scores [R, n] with what is missing filled in as the spec says, and where there is an opinion to count, bool [R, n]."""
    groups, finite_Rn = batch.groups, np.isfinite(batch.scores_Rn)
    lowest_R = np.array([spec.lowest_score(name) for name in batch.retrievers])
    normal_Rn = NORMALISERS[spec.normaliser](batch.scores_Rn, groups, lowest_R)
    if spec.missing != "renormalise":
        instead_RG = groups.smallest(normal_Rn) if spec.missing == "lowest" else groups.mean(normal_Rn)
        # NaN: a retriever that scores nothing here, and weighs nothing
        normal_Rn = np.where(finite_Rn, normal_Rn, groups.spread(np.nan_to_num(instead_RG)))
        finite_Rn = groups.spread(groups.any(finite_Rn))
    return normal_Rn, finite_Rn
