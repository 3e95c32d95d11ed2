"""A small linear ranker over the features, fitted to pairs: with few judged queries it errs elsewhere than trees do.

What begins at its score is `prior.py`'s matter. Letters: n rows, F features, Z linear columns, G queries, C rows of one, P pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from intarsia.maths.arrays import Floats
from intarsia.ranking.rows import RankingRows

_CLIP = 5.0  # standard deviations: one odd value shall not outweigh all other features
_MAX_STEPS = 60
_RARE = 1e-3  # a feature that is missing in fewer rows, or in all but so few, has no weight for missing
_LEAST_SPREAD = 0.1  # of the spread over all rows: a feature that hardly differs within queries is not blown up


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearModel:
    """score = Σ_f slopes_F · clip(x - means_F, ±limits_F), or Σ missing_F where x is NaN; each row by itself."""

    means_F: tuple[float, ...]
    limits_F: tuple[float, ...]
    slopes_F: tuple[float, ...]
    missing_F: tuple[float, ...]

    def shares(self, values_nF: NDArray[np.floating]) -> Floats:
        """float64 [n, F], what each feature adds."""
        limits_F = np.array(self.limits_F)
        centred_nF = np.clip(values_nF.astype(np.float64) - np.array(self.means_F), -limits_F, limits_F)
        return np.where(np.isnan(values_nF), np.array(self.missing_F), centred_nF * np.array(self.slopes_F))

    def scores(self, values_nF: NDArray[np.floating]) -> Floats:
        """float64 [n]; summed from left to right, so that a row's bits do not depend on how many rows there are."""
        return np.ascontiguousarray(np.cumsum(self.shares(values_nF), axis=1)[:, -1])

    def times(self, weight: float) -> LinearModel:
        """The same order at another scale."""
        return replace(
            self,
            slopes_F=tuple(weight * slope for slope in self.slopes_F),
            missing_F=tuple(weight * value for value in self.missing_F),
        )

    def plus(self, other: LinearModel) -> LinearModel:
        """The sum of one model at two scales."""
        assert (self.means_F, self.limits_F) == (other.means_F, other.limits_F), "two scales of one model"
        return replace(
            self,
            slopes_F=tuple(a + b for a, b in zip(self.slopes_F, other.slopes_F, strict=True)),
            missing_F=tuple(a + b for a, b in zip(self.missing_F, other.missing_F, strict=True)),
        )

    def to_jsonable(self) -> dict[str, list[float]]:
        """For a header; `linear_of` reads it back to the same bits."""
        return {name: list(getattr(self, name)) for name in ("means_F", "limits_F", "slopes_F", "missing_F")}


def linear_of(told: Mapping[str, Sequence[float]]) -> LinearModel:
    """What `plain` told."""
    return LinearModel(**{name: tuple(values) for name, values in told.items()})


def fit_linear(rows: RankingRows, gains: Sequence[float], l2: float) -> LinearModel:
    """Logistic loss over the pairs of a query with different grades.

    A pair weighs the difference of its gains times its rows' weights, a query in all what its rows weigh on average. Features are
    standardised by their spread within queries: what all rows of a query share orders nothing.

    Args:
        rows: one query or more; those whose rows are all of one grade teach nothing.
        gains: of grade 0, 1, …
        l2: penalty on the standardised weights, > 0, against a loss that sums over queries.

    Source: Joachims, KDD 2002 (pairs of a query); Burges et al., ICML 2005, eq. 3 (their logistic loss). doi:10.1145/1102351.1102363
    """
    group_n = np.repeat(np.arange(rows.num_queries), np.diff(rows.offsets_G))
    missing_nF = np.isnan(rows.values_nF)
    present_F = np.maximum((~missing_nF).sum(axis=0), 1)
    means_F = np.where(missing_nF, 0.0, rows.values_nF).sum(axis=0, dtype=np.float64) / present_F
    values_nF = np.where(missing_nF, 0.0, rows.values_nF - means_F)
    told_F = np.flatnonzero((missing_nF.mean(axis=0) > _RARE) & (missing_nF.mean(axis=0) < 1 - _RARE))
    columns_nZ = np.concatenate([values_nF, missing_nF[:, told_F]], axis=1)
    spread_Z = _spread(columns_nZ, group_n)
    columns_nZ = np.clip(columns_nZ / spread_Z, -_CLIP, _CLIP)
    weights_Z = _descend(columns_nZ, *_pairs(rows, np.asarray(gains)), l2) / spread_Z
    num_features = len(means_F)
    missing_F = np.zeros(num_features)
    marks_Z = np.minimum(_CLIP * spread_Z[num_features:], 1.0)  # in the fit what is rarely missing was clipped as well
    missing_F[told_F] = weights_Z[num_features:] * marks_Z
    limits_F = np.where(np.isinf(spread_Z), 0.0, _CLIP * spread_Z)[:num_features]
    return LinearModel(
        means_F=tuple(means_F.tolist()),
        limits_F=tuple(limits_F.tolist()),
        slopes_F=tuple(weights_Z[:num_features].tolist()),
        missing_F=tuple(missing_F.tolist()),
    )


def _spread(columns_nZ: Floats, group_n: NDArray[np.int64]) -> Floats:
    """Standard deviation within queries, [Z]; infinite where a column does not differ, so that it weighs nothing."""
    sizes_G = np.bincount(group_n)
    means_GZ = np.stack([np.bincount(group_n, column) for column in columns_nZ.T], axis=1) / sizes_G[:, np.newaxis]
    within_Z = np.sqrt(np.mean((columns_nZ - means_GZ[group_n]) ** 2, axis=0))
    overall_Z = columns_nZ.std(axis=0)
    differs_Z = within_Z > _RARE * np.maximum(overall_Z, _RARE)
    return np.where(differs_Z, np.maximum(within_Z, _LEAST_SPREAD * overall_Z), np.inf)


def _pairs(rows: RankingRows, gains: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Better row, worse row and weight of each pair, [P] each."""
    better, worse, weights = [], [], []
    for start, stop in zip(rows.offsets_G[:-1], rows.offsets_G[1:], strict=True):
        gains_C, weights_C = gains[rows.labels_n[start:stop]], rows.weights_n[start:stop].astype(np.float64)
        above, below = np.nonzero(gains_C[:, np.newaxis] > gains_C)
        differences = (gains_C[above] - gains_C[below]) * weights_C[above] * weights_C[below]
        better.append(above + start)
        worse.append(below + start)
        weights.append(differences * (weights_C.mean() / max(differences.sum(), np.finfo(np.float64).tiny)))
    return np.concatenate(better), np.concatenate(worse), np.concatenate(weights)


def _descend(
    columns_nZ: Floats, better_P: NDArray[np.int64], worse_P: NDArray[np.int64], weights_P: Floats, l2: float
) -> Floats:
    def loss(weights_Z: Floats) -> tuple[float, Floats]:
        scores_n = columns_nZ @ weights_Z
        margins_P = scores_n[better_P] - scores_n[worse_P]
        pulls_P = weights_P * np.exp(-np.logaddexp(0.0, margins_P))
        pulls_n = np.bincount(worse_P, pulls_P, len(scores_n)) - np.bincount(better_P, pulls_P, len(scores_n))
        value = weights_P @ np.logaddexp(0.0, -margins_P) + l2 * weights_Z @ weights_Z / 2
        return float(value), columns_nZ.T @ pulls_n + l2 * weights_Z

    start: Any = np.zeros(columns_nZ.shape[1])
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _MAX_STEPS}).x, np.float64)
