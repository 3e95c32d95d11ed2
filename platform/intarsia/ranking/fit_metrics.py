"""How a fit sees its own scores on labelled rows: their spread, slope and nDCG, over the rows that were retrieved.

Letters: n rows, G queries, C candidates of one query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.maths.arrays import Floats
from intarsia.maths.grouped import Groups
from intarsia.maths.ndcg import ndcg_by_scores
from intarsia.ranking.rows import RankingRows

METRIC_AT = 10
_ROUNDING = 1e-9  # of the largest score: below this, equal scores differ by the rounding of their mean


def spread_within(scores_n: Floats, rows: RankingRows) -> float:
    """Standard deviation within queries: what all rows of a query share orders nothing; 0 where the score does not differ."""
    return float(np.sqrt(np.mean(_centred(scores_n, rows) ** 2)))


def slope_within(scores_n: Floats, targets_n: Floats, rows: RankingRows) -> float:
    """By how much the target rises with the score within queries, by least squares; 0 where the score does not differ."""
    centred_n = _centred(scores_n, rows)
    square = float(centred_n @ centred_n)
    return float(centred_n @ targets_n) / square if square else 0.0


def weighted_mean_ndcg(scores_n: Floats, rows: RankingRows, label_gain: Sequence[float]) -> float:
    """Mean nDCG@10 over queries, each weighted by the mean weight of its rows.

    As LightGBM computes it: equal scores keep their order, and a query without a positive counts as 1.
    """
    gains_n = np.array(label_gain)[rows.labels_n]
    ndcg_G = ndcg_by_scores(scores_n, gains_n, Groups(rows.offsets_G), METRIC_AT, without_positive=1.0)
    weights_G = np.add.reduceat(rows.weights_n, rows.offsets_G[:-1]) / np.diff(rows.offsets_G)
    return float(np.average(ndcg_G, weights=weights_G))


def _centred(values_n: Floats, rows: RankingRows) -> Floats:
    sizes_G = np.diff(rows.offsets_G)
    means_G = np.add.reduceat(values_n, rows.offsets_G[:-1]) / sizes_G
    centred_n = np.asarray(values_n - np.repeat(means_G, sizes_G), np.float64)
    noise = _ROUNDING * float(np.abs(values_n).max(initial=0.0))
    return np.where(np.abs(centred_n) <= noise, 0.0, centred_n)
