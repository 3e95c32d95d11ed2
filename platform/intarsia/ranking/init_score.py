"""Where the trees begin: at the fused order, so that a ranker which learned little from few judged queries leaves it mostly as it was.

Without it a short fit gives most candidates equal scores, and their order is chance. A linear ranker may stand beside it: what is linear
in the features it learns from fewer queries than trees do, and these are left with the rest. Letters: n rows, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intarsia.ranking.linear import LinearModel

PRIOR_FEATURE = "fused_z"
"""The fused score in standard deviations above the page's mean: of one scale whatever the fusion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What rows score before the first tree: `prior_weight` times the fused score, and what a linear ranker adds."""

    prior_weight: float
    linear: LinearModel | None = None

    def times(self, weight: float) -> Start:
        """The same order at another scale."""
        return Start(prior_weight=weight * self.prior_weight, linear=self.linear and self.linear.times(weight))

    def plus(self, other: Start) -> Start:
        """The sum of one start at two scales."""
        linear = self.linear.plus(other.linear) if self.linear and other.linear else None
        return Start(prior_weight=self.prior_weight + other.prior_weight, linear=linear)

    def scores(self, values_nF: NDArray[np.floating], feature_names: Sequence[str]) -> NDArray[np.float64] | None:
        """float64 [n]; None where it is nothing for every row."""
        prior_n = prior_scores(values_nF, feature_names, self.prior_weight)
        if self.linear is None:
            return prior_n
        linear_n = self.linear.scores(values_nF)
        return linear_n if prior_n is None else linear_n + prior_n


def prior_scores(
    values_nF: NDArray[np.floating], feature_names: Sequence[str], weight: float
) -> NDArray[np.float64] | None:
    """float64 [n], of the fused score alone; 0 where the feature is NaN, None without a weight or without the feature."""
    if not weight or PRIOR_FEATURE not in feature_names:
        return None
    fused_n = values_nF[:, list(feature_names).index(PRIOR_FEATURE)].astype(np.float64)
    return np.asarray(weight * np.nan_to_num(fused_n), np.float64)
