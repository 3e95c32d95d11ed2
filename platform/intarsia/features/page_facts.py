"""What only the whole list of candidates tells: extremes and spread of each score, and where a price stands among the others.

Each fact is the same, to the bit, in whatever order the candidates come.

Letters: C candidates of one query.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intarsia.records.feature_matrix import Column


def spread_columns(name: str, scores_C: NDArray[np.float32]) -> dict[str, Column]:
    """Lowest, highest, mean and standard deviation of the scores that are there, repeated on each row; NaN when none is."""
    sorted_scores = np.sort(
        scores_C[~np.isnan(scores_C)].astype(np.float64)
    )  # sums in one order, whatever the rows' order
    facts = (np.nan, np.nan, np.nan, np.nan)
    if len(sorted_scores):
        low, high = float(sorted_scores[0]), float(sorted_scores[-1])
        # the mean of equal scores can differ from them in the last bit, and would make a spread where there is none
        facts = (
            (low, high, low, 0.0)
            if low == high
            else (low, high, float(sorted_scores.mean()), float(sorted_scores.std()))
        )
    parts = zip(("low", "high", "mean", "spread"), facts, strict=True)
    return {f"{name}_{part}": np.full(len(scores_C), fact) for part, fact in parts}


def price_columns(price_C: NDArray[np.float64], currency_C: NDArray[np.int32]) -> dict[str, Column]:
    """Among the candidates of the same currency: the median price, how many are cheaper, how many cost the same, how many have a price."""
    found = {name: np.full(len(price_C), np.nan) for name in ("price_median", "num_cheaper", "num_equal", "num_priced")}
    for code in np.unique(currency_C[currency_C >= 0]):
        here = np.flatnonzero((currency_C == code) & ~np.isnan(price_C))
        if not len(here):
            continue
        ascending = np.sort(price_C[here])
        below = np.searchsorted(ascending, price_C[here], side="left")
        found["price_median"][here] = np.median(ascending)
        found["num_cheaper"][here] = below
        found["num_equal"][here] = np.searchsorted(ascending, price_C[here], side="right") - below
        found["num_priced"][here] = len(here)
    return dict(found)
