"""Convex fusion: the weighted mean of the retrievers' normalised scores; with kind `equal`, their plain mean.

`weighted.py` finds the weights. Shapes: n candidates of all queries, G queries, R retrievers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.score.normalise import NORMALISERS
from intarsia.fusion.spec import FusionSpec
from intarsia.maths.arrays import Floats


def fuse_convex(spec: FusionSpec, batch: CandidateBatch, weights_RG: Floats) -> Floats:
    """Fuse by the weighted mean of normalised scores.

    The weights of a query are divided by their sum over the retrievers that can score some candidate of it.

    Args:
        spec: gives the normaliser and how missing scores are filled in.
        batch: scores, NaN where a retriever cannot score a candidate.
        weights_RG: float64 [R, G], 0 or more.

    Returns:
        float64 [n], higher is better.
    """
    groups = batch.groups
    normal_Rn, counted_Rn = normalised_scores(spec, batch)
    fused_n, weight_n = np.zeros(len(batch.rows_n)), np.zeros(len(batch.rows_n))
    # a loop, not .sum(axis=0): the order of the additions, and so every bit, must not depend on the batch
    for normal_n, counted_n, weights_G in zip(normal_Rn, counted_Rn, weights_RG, strict=True):
        used_n = np.where(counted_n, np.repeat(weights_G, groups.lengths_G), 0.0)
        fused_n += used_n * np.where(counted_n, normal_n, 0.0)
        weight_n += used_n
    return np.divide(fused_n, weight_n, out=fused_n, where=weight_n > 0)


def normalised_scores(spec: FusionSpec, batch: CandidateBatch) -> tuple[Floats, NDArray[np.bool_]]:
    """Normalise the scores and fill in missing ones as the spec says.

    Returns:
        Normalised scores [R, n], and which of them count in the mean, bool [R, n].
    """
    groups, finite_Rn = batch.groups, np.isfinite(batch.scores_Rn)
    lowest_R = np.array([spec.lowest_score(name) for name in batch.retrievers])
    normal_Rn = NORMALISERS[spec.normaliser](batch.scores_Rn, groups, lowest_R)
    if spec.missing == "renormalise":
        return normal_Rn, finite_Rn
    fill_RG = groups.smallest(normal_Rn) if spec.missing == "lowest" else groups.mean(normal_Rn)
    # fill_RG is NaN where a retriever scores nothing in the query; its scores do not count there
    normal_Rn = np.where(finite_Rn, normal_Rn, groups.spread(np.nan_to_num(fill_RG)))
    return normal_Rn, groups.spread(groups.any(finite_Rn))
