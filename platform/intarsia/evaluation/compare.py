"""Means with their uncertainty, and whether one system is better than another: bootstrap over queries.

Letters: Q queries, B resamples, M columns (systems, metrics or differences).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from intarsia.maths.arrays import Floats

Verdict = Literal["better", "worse", "no difference"]

NUM_RESAMPLES = 10_000
_COUNTS_AT_ONCE = 4_000_000  # numbers drawn per piece: bounds memory at about 64 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over `num_queries` queries, and the interval that holds it with the given confidence; NaN without a query."""

    mean: float
    low: float
    high: float
    num_queries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Mean of a - b over the same queries; better or worse only when 0 lies outside the interval."""

    difference: Interval

    @property
    def verdict(self) -> Verdict:
        """What a may be called beside b."""
        if self.difference.low > 0:
            return "better"
        return "worse" if self.difference.high < 0 else "no difference"


def bootstrap_mean(
    values_Q: Floats, *, seed: int, num_resamples: int = NUM_RESAMPLES, confidence: float = 0.95
) -> Interval:
    """The mean of a metric over queries with its percentile bootstrap interval; NaN queries (no positive) are left out.

    Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979.
    """
    return bootstrap_means(values_Q[:, None], seed=seed, num_resamples=num_resamples, confidence=confidence)[0]


def paired_bootstrap(
    a_Q: Floats, b_Q: Floats, *, seed: int, num_resamples: int = NUM_RESAMPLES, confidence: float = 0.95
) -> PairedDifference:
    """Whether a beats b on the same queries: the queries are drawn anew, with replacement, and the mean difference taken each time.

    Raises:
        ValueError: the two were not measured on the same queries.
    """
    if a_Q.shape != b_Q.shape or not np.array_equal(np.isnan(a_Q), np.isnan(b_Q)):
        raise ValueError(
            f"{np.count_nonzero(~np.isnan(a_Q))} queries against {np.count_nonzero(~np.isnan(b_Q))}, or different ones; "
            "a paired comparison needs both systems on the same queries"
        )
    return PairedDifference(
        difference=bootstrap_mean(a_Q - b_Q, seed=seed, num_resamples=num_resamples, confidence=confidence)
    )


def bootstrap_means(
    values_QM: Floats, *, seed: int, num_resamples: int = NUM_RESAMPLES, confidence: float = 0.95
) -> list[Interval]:
    """`bootstrap_mean` of each column from one draw of queries; a query that is NaN in one column is left out of all.

    Raises:
        ValueError: fewer than one resample, or a confidence outside 0..1.
    """
    if num_resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"{num_resamples} resamples at confidence {confidence}; allowed: 1 or more, and between 0 and 1"
        )
    known_QM = values_QM[~np.isnan(values_QM).any(axis=1)]
    num = len(known_QM)
    if num == 0:
        return [Interval(mean=np.nan, low=np.nan, high=np.nan, num_queries=0)] * values_QM.shape[1]
    means_BM = _resampled_means(known_QM, np.random.default_rng(seed), num_resamples)
    tail = (1.0 - confidence) / 2.0
    low_M, high_M = np.quantile(means_BM, [tail, 1.0 - tail], axis=0)
    return [
        Interval(mean=float(mean), low=float(low), high=float(high), num_queries=num)
        for mean, low, high in zip(known_QM.mean(axis=0), low_M, high_M, strict=True)
    ]


def _resampled_means(values_QM: Floats, rng: np.random.Generator, num_resamples: int) -> Floats:
    num = len(values_QM)
    at_once = max(1, _COUNTS_AT_ONCE // num)
    pieces = []
    for start in range(0, num_resamples, at_once):
        piece = min(at_once, num_resamples - start)
        drawn = rng.integers(num, size=(piece, num), dtype=np.int32)
        drawn += (np.arange(piece, dtype=np.int32) * num)[:, None]
        counts_BQ = np.bincount(drawn.ravel(), minlength=piece * num).reshape(piece, num)  # multinomial counts
        pieces.append(counts_BQ.astype(np.float64) @ values_QM / num)
    return np.concatenate(pieces)
