"""Scores of different retrievers on one scale, query by query; what they are then weighted with is `convex.py`'s matter.

Letters: n candidates of all queries, G queries, R retrievers. Every normaliser keeps the order of a retriever's scores, leaves NaN (cannot
be scored) as NaN, and gives a lone or constant score more than 0, unless it is the lowest score there can be: a lone hit does not vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from intarsia.fusion.spec import NormaliserName
from intarsia.maths.arrays import Floats
from intarsia.maths.grouped import Groups

Normaliser = Callable[[Floats, Groups, Floats], Floats]
"""(scores_Rn, groups, lowest_R: the lowest score each retriever can give) -> normalised [R, n]."""


def min_max(scores_Rn: Floats, groups: Groups, lowest_R: Floats) -> Floats:
    """Lowest of the query 0, highest 1; constant or lone scores are all 1. Shift and positive scale change nothing."""
    low_Rn, high_Rn = groups.spread(groups.smallest(scores_Rn)), groups.spread(groups.largest(scores_Rn))
    return _share(scores_Rn - low_Rn, high_Rn - low_Rn, if_constant=1.0)


def theoretical_min_max(scores_Rn: Floats, groups: Groups, lowest_R: Floats) -> Floats:
    """The lowest score there can be 0, the query's highest 1; if nothing is above the lowest, all are 0.

    Unlike min_max the worst candidate is not pushed to 0, so the result does not hang on how deep the retrievers went. A retriever whose
    lowest is NaN knows none: the query's lowest stands for it.
    Source: Bruch, Gai and Ingber, "An analysis of fusion functions for hybrid retrieval", TOIS 2023. doi:10.1145/3596512
    """
    known_Rn = np.where(np.isnan(lowest_R)[:, None], groups.spread(groups.smallest(scores_Rn)), lowest_R[:, None])
    above_Rn = np.maximum(scores_Rn - known_Rn, 0.0)
    return _share(above_Rn, groups.spread(groups.largest(above_Rn)), if_constant=0.0)


def z_score(scores_Rn: Floats, groups: Groups, lowest_R: Floats) -> Floats:
    """0.5 + z / 6, so that three standard deviations to each side span 0..1; constant or lone scores are 0.5. Not bounded."""
    finite_Rn = np.isfinite(scores_Rn)
    num_RG = np.maximum(groups.total(finite_Rn.astype(np.float64)), 1.0)
    mean_RG = groups.total(np.where(finite_Rn, scores_Rn, 0.0)) / num_RG
    away_Rn = scores_Rn - groups.spread(mean_RG)
    deviation_RG = np.sqrt(groups.total(np.where(finite_Rn, away_Rn**2, 0.0)) / num_RG)
    varies_RG = groups.largest(scores_Rn) > groups.smallest(scores_Rn)  # rounding gives equal scores a tiny deviation
    return 0.5 + _share(away_Rn, 6.0 * groups.spread(np.where(varies_RG, deviation_RG, 0.0)), if_constant=0.0)


def atan(scores_Rn: Floats, groups: Groups, lowest_R: Floats) -> Floats:
    """The arc tangent, moved and scaled to 0..1: the same for every query, so a weak best stays weak."""
    return 0.5 + np.arctan(scores_Rn) / np.pi


def quantile(scores_Rn: Floats, groups: Groups, lowest_R: Floats) -> Floats:
    """Share of the query's scored candidates that score no higher; equal scores are equal, a lone one is 1. Depends on order only."""
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


def _share(part_Rn: Floats, whole_Rn: Floats, *, if_constant: float) -> Floats:
    """Part by whole; `if_constant` where whole is 0; NaN where part is NaN."""
    constant_Rn = np.where(np.isnan(part_Rn), np.nan, if_constant)
    return np.divide(part_Rn, whole_Rn, out=constant_Rn, where=whole_Rn > 0)
