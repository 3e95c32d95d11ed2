"""CombSUM and CombMNZ: sums over the retrievers that returned a candidate; CombMNZ rewards agreement. Baselines.

`convex.py` averages the scores of all retrievers that can score a candidate. These two only add scores of returned
candidates: a retriever adds nothing to a candidate that it did not return within depth. Shapes: n candidates of all
queries, G queries, R retrievers.
"""

from __future__ import annotations

import numpy as np

from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.score.normalise import NORMALISERS
from intarsia.fusion.spec import FusionSpec
from intarsia.maths.arrays import Floats


def fuse_comb_sum(spec: FusionSpec, batch: CandidateBatch, weights_RG: Floats) -> Floats:
    """Fuse by the sum of weight x normalised score over the retrievers that returned the candidate.

    Args:
        spec: gives the normaliser. It sees returned candidates only, so min_max gives 0 to a retriever's last result.
        batch: scores and ranks.
        weights_RG: float64 [R, G], 0 or more; all 1 in the paper.

    Returns:
        float64 [n], higher is better.

    Source: Fox and Shaw, "Combination of multiple searches", TREC-2, 1994; min_max after Lee, SIGIR 1997,
    doi:10.1145/258525.258587; weights after Vogt and Cottrell, Information Retrieval 1999, doi:10.1023/A:1009980820262
    """
    return _sum_and_count(spec, batch, weights_RG)[0]


def fuse_comb_mnz(spec: FusionSpec, batch: CandidateBatch, weights_RG: Floats) -> Floats:
    """Fuse by CombSUM times the number of retrievers (of weight above 0) that returned the candidate.

    Arguments: see `fuse_comb_sum`.

    Source: Fox and Shaw, "Combination of multiple searches", TREC-2, 1994
    """
    sum_n, num_n = _sum_and_count(spec, batch, weights_RG)
    return sum_n * num_n


def _sum_and_count(spec: FusionSpec, batch: CandidateBatch, weights_RG: Floats) -> tuple[Floats, Floats]:
    groups, returned_Rn = batch.groups, batch.ranks_Rn > 0
    lowest_R = np.array([spec.lowest_score(name) for name in batch.retrievers])
    normal_Rn = NORMALISERS[spec.normaliser](np.where(returned_Rn, batch.scores_Rn, np.nan), groups, lowest_R)
    sum_n, num_n = np.zeros(len(batch.rows_n)), np.zeros(len(batch.rows_n))
    # a loop, not .sum(axis=0): the order of the additions, and so every bit, must not depend on the batch
    for normal_n, returned_n, weights_G in zip(normal_Rn, returned_Rn, weights_RG, strict=True):
        weights_n = np.repeat(weights_G, groups.lengths_G)
        sum_n += np.where(returned_n, weights_n * np.where(returned_n, normal_n, 0.0), 0.0)
        num_n += returned_n & (weights_n > 0)
    return sum_n, num_n
