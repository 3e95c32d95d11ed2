"""How a fit sees its own scores on labelled rows: their spread, slope and nDCG, over the rows that were retrieved.

Letters: n rows, G queries, C candidates of one query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from intarsia.ranking.rows import RankingRows

METRIC_AT = 10
_ROUNDING = 1e-9  # of the largest score: below this, equal scores differ by the rounding of their mean


def spread_within(scores_n: NDArray[np.float64], rows: RankingRows) -> float:
    """Standard deviation within queries: what all rows of a query share orders nothing; 0 where the score does not differ."""
    return float(np.sqrt(np.mean(_centred(scores_n, rows) ** 2)))


def slope_within(scores_n: NDArray[np.float64], targets_n: NDArray[np.float64], rows: RankingRows) -> float:
    """By how much the target rises with the score within queries, by least squares; 0 where the score does not differ."""
    centred_n = _centred(scores_n, rows)
    square = float(centred_n @ centred_n)
    return float(centred_n @ targets_n) / square if square else 0.0


def ndcg_of(scores_n: NDArray[np.float64], rows: RankingRows, label_gain: Sequence[float]) -> float:
    """Mean nDCG@10 over queries, each weighing as its rows do on average.

    As LightGBM's: equal scores stay in order, a query without a positive counts 1.
    """
    gains = np.array(label_gain)
    discounts = 1 / np.log2(np.arange(2, METRIC_AT + 2))
    values_G = np.ones(rows.num_queries)
    for g, (start, stop) in enumerate(zip(rows.offsets_G[:-1], rows.offsets_G[1:], strict=True)):
        gains_C = gains[rows.labels_n[start:stop]]
        ranked = gains_C[np.argsort(-scores_n[start:stop], kind="stable")][:METRIC_AT]
        ideal = np.sort(gains_C)[::-1][:METRIC_AT]
        if ideal[0] > 0:
            values_G[g] = ranked @ discounts[: len(ranked)] / (ideal @ discounts[: len(ideal)])
    weights_G = np.add.reduceat(rows.weights_n, rows.offsets_G[:-1]) / np.diff(rows.offsets_G)
    return float(np.average(values_G, weights=weights_G))


def _centred(values_n: NDArray[np.float64], rows: RankingRows) -> NDArray[np.float64]:
    sizes_G = np.diff(rows.offsets_G)
    means_G = np.add.reduceat(values_n, rows.offsets_G[:-1]) / sizes_G
    centred_n = np.asarray(values_n - np.repeat(means_G, sizes_G), np.float64)
    noise = _ROUNDING * float(np.abs(values_n).max(initial=0.0))
    return np.where(np.abs(centred_n) <= noise, 0.0, centred_n)
