"""Ranking rows whose first feature predicts the grade."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.ranking.rows import RankingRows


def graded_rows(
    rng: np.random.Generator, names: Sequence[str], *, num_queries: int, per_query: int = 12
) -> RankingRows:
    """The grade is the first feature plus noise, rounded to 0..3; no value is missing."""
    values = rng.normal(size=(num_queries * per_query, len(names))).astype(np.float32)
    labels = np.clip(np.round(values[:, 0] + 0.3 * rng.normal(size=len(values))), 0, 3).astype(np.int32)
    return RankingRows(
        values_nF=values,
        labels_n=labels,
        weights_n=np.ones(len(labels), np.float32),
        offsets_G=np.arange(0, len(labels) + 1, per_query, dtype=np.int64),
        feature_names=tuple(names),
    )
