"""Where the trees begin: at the fused order, so that a ranker which learned little from few judged queries leaves it mostly as it was.

Without it a short fit gives most candidates equal scores, and their order is chance. Letters: n rows, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PRIOR_FEATURE = "fused_z"
"""The fused score in standard deviations above the page's mean: of one scale whatever the fusion."""


def prior_scores(
    values_nF: NDArray[np.floating], feature_names: Sequence[str], weight: float
) -> NDArray[np.float64] | None:
    """float64 [n], what each row scores before the first tree; 0 where the feature is NaN, None without a weight or without the feature."""
    if not weight or PRIOR_FEATURE not in feature_names:
        return None
    fused_n = values_nF[:, list(feature_names).index(PRIOR_FEATURE)].astype(np.float64)
    return np.asarray(weight * np.nan_to_num(fused_n), np.float64)
