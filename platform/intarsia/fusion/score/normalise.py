"""Normalisers: they bring the scores of different retrievers to one scale, query by query.

Every normaliser keeps the order of a retriever's scores and leaves NaN (cannot be scored) as NaN. A single score, or
scores that are all equal, become more than 0, unless they are the lowest possible score: a single hit must not vanish.

Shapes: n candidates of all queries, G queries, R retrievers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from intarsia.fusion.spec import NormaliserName
from intarsia.maths.arrays import Floats
from intarsia.maths.grouped import Groups

Normaliser = Callable[[Floats, Groups, Floats], Floats]
"""(scores_Rn, groups, lowest_R: the lowest score that each retriever can give) -> normalised scores [R, n]."""


def min_max(scores_Rn: Floats, groups: Groups, lowest_R: Floats) -> Floats:
    """Scale the query's lowest score to 0, its highest to 1; if all are equal, to 1. Shift and scale do not matter.

    >>> min_max(np.array([[1.0, 2.0, 5.0]]), Groups(np.array([0, 3])), np.zeros(1)).tolist()
    [[0.0, 0.25, 1.0]]
    """
    low_Rn, high_Rn = groups.spread(groups.smallest(scores_Rn)), groups.spread(groups.largest(scores_Rn))
    return _divide(scores_Rn - low_Rn, high_Rn - low_Rn, if_constant=1.0)


def theoretical_min_max(scores_Rn: Floats, groups: Groups, lowest_R: Floats) -> Floats:
    """Scale the lowest possible score to 0 and the query's highest to 1; if none is above the lowest, all are 0.

    Unlike with min_max, the worst candidate does not become 0, so the result does not depend on the number of retrieved
    candidates. Where `lowest_R` is NaN (no lower bound), the query's lowest score is used.

    Source: Bruch, Gai and Ingber, "An analysis of fusion functions for hybrid retrieval", TOIS 2023.
    doi:10.1145/3596512
    """
    known_Rn = np.where(np.isnan(lowest_R)[:, None], groups.spread(groups.smallest(scores_Rn)), lowest_R[:, None])
    above_Rn = np.maximum(scores_Rn - known_Rn, 0.0)
    return _divide(above_Rn, groups.spread(groups.largest(above_Rn)), if_constant=0.0)


def z_score(scores_Rn: Floats, groups: Groups, lowest_R: Floats) -> Floats:
    """0.5 + z / 6: three standard deviations on each side map to 0..1; if all scores are equal, 0.5. Not bounded."""
    finite_Rn = np.isfinite(scores_Rn)
    num_RG = np.maximum(groups.total(finite_Rn.astype(np.float64)), 1.0)
    mean_RG = groups.total(np.where(finite_Rn, scores_Rn, 0.0)) / num_RG
    deviation_Rn = scores_Rn - groups.spread(mean_RG)
    std_RG = np.sqrt(groups.total(np.where(finite_Rn, deviation_Rn**2, 0.0)) / num_RG)
    # by rounding, equal scores may have a tiny deviation
    varies_RG = groups.largest(scores_Rn) > groups.smallest(scores_Rn)
    return 0.5 + _divide(deviation_Rn, 6.0 * groups.spread(np.where(varies_RG, std_RG, 0.0)), if_constant=0.0)


def atan(scores_Rn: Floats, groups: Groups, lowest_R: Floats) -> Floats:
    """Arc tangent scaled to 0..1. It is the same function for every query: a query of low scores stays low."""
    return 0.5 + np.arctan(scores_Rn) / np.pi


def quantile(scores_Rn: Floats, groups: Groups, lowest_R: Floats) -> Floats:
    """Share of the query's scored candidates that do not score higher; a single score is 1. Reads the order only."""
    shares_Rn = np.full_like(scores_Rn, np.nan)
    for scores_n, shares_n in zip(scores_Rn, shares_Rn, strict=True):
        for start, end in zip(groups.offsets[:-1], groups.offsets[1:], strict=True):
            ordered = np.sort(scores_n[start:end])  # NaN last
            num = int(np.count_nonzero(~np.isnan(ordered)))
            at = np.searchsorted(ordered[:num], scores_n[start:end], side="right")
            shares_n[start:end] = np.where(np.isnan(scores_n[start:end]), np.nan, at / max(num, 1))
    return shares_Rn


NORMALISERS: Mapping[NormaliserName, Normaliser] = {
    "min_max": min_max,
    "theoretical_min_max": theoretical_min_max,
    "z": z_score,
    "atan": atan,
    "quantile": quantile,
}


def _divide(part_Rn: Floats, whole_Rn: Floats, *, if_constant: float) -> Floats:
    """Divide; `if_constant` where the divisor is 0, NaN where the dividend is NaN."""
    constant_Rn = np.where(np.isnan(part_Rn), np.nan, if_constant)
    return np.divide(part_Rn, whole_Rn, out=constant_Rn, where=whole_Rn > 0)
