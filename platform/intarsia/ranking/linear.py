"""The linear part of the ranker: the score of a row before the first tree.

It starts the trees at the fused order, so a ranker that learned little from few judged queries changes that order
little; without it, a short fit gives most candidates equal scores. A linear model over all features can be added: with
few judged queries it makes other errors than trees do.

Letters: n rows, F features, Z linear columns, G queries, C rows of one query, P pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from intarsia.maths.arrays import Floats, Ints
from intarsia.ranking.rows import RankingRows

PRIOR_FEATURE = "fused_z"
"""The fused score in standard deviations above the candidates' mean: of one scale for every fusion method."""

_CLIP = 5.0  # standard deviations: limits the influence of an outlier
_MAX_STEPS = 60
_RARE = 1e-3  # a feature that is missing in a smaller share of the rows, or present in one, gets no weight for missing
_MIN_SPREAD = 0.1  # of the spread over all rows: a feature that hardly differs within queries is not scaled up


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearModel:
    """score = sum over f of slopes_F * clip(x - means_F, -limits_F, limits_F), or missing_F where x is NaN.

    Each row is scored independently.
    """

    means_F: tuple[float, ...]
    limits_F: tuple[float, ...]
    slopes_F: tuple[float, ...]
    missing_F: tuple[float, ...]

    def contributions(self, values_nF: NDArray[np.floating]) -> Floats:
        """float64 [n, F]: what each feature adds to the score."""
        limits_F = np.array(self.limits_F)
        centred_nF = np.clip(values_nF.astype(np.float64) - np.array(self.means_F), -limits_F, limits_F)
        return np.where(np.isnan(values_nF), np.array(self.missing_F), centred_nF * np.array(self.slopes_F))

    def scores(self, values_nF: NDArray[np.floating]) -> Floats:
        """float64 [n]; summed from left to right, so that a row has the same bits in any batch."""
        return np.ascontiguousarray(np.cumsum(self.contributions(values_nF), axis=1)[:, -1])

    def times(self, weight: float) -> LinearModel:
        """The model that scores `weight` times as much."""
        return replace(
            self,
            slopes_F=tuple(weight * slope for slope in self.slopes_F),
            missing_F=tuple(weight * value for value in self.missing_F),
        )

    def plus(self, other: LinearModel) -> LinearModel:
        """The sum with a multiple (`times`) of the same model."""
        assert (self.means_F, self.limits_F) == (other.means_F, other.limits_F), "multiples of one model"
        return replace(
            self,
            slopes_F=tuple(a + b for a, b in zip(self.slopes_F, other.slopes_F, strict=True)),
            missing_F=tuple(a + b for a, b in zip(self.missing_F, other.missing_F, strict=True)),
        )

    def to_jsonable(self) -> dict[str, list[float]]:
        """Plain lists for JSON; `from_jsonable` restores the same bits."""
        return {name: list(getattr(self, name)) for name in ("means_F", "limits_F", "slopes_F", "missing_F")}

    @classmethod
    def from_jsonable(cls, lists: Mapping[str, Sequence[float]]) -> LinearModel:
        """The inverse of `to_jsonable`."""
        return cls(**{name: tuple(values) for name, values in lists.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class InitScore:
    """The score of a row before the first tree (LightGBM's `init_score`).

    Attributes:
        prior_weight: weight of the fused score `PRIOR_FEATURE`; unused if the features do not contain it.
        linear: its score is added; None adds nothing.
    """

    prior_weight: float = 0.0
    linear: LinearModel | None = None

    def times(self, weight: float) -> InitScore:
        """The score multiplied by `weight`."""
        return InitScore(prior_weight=weight * self.prior_weight, linear=self.linear and self.linear.times(weight))

    def plus(self, other: InitScore) -> InitScore:
        """The sum with a multiple (`times`) of the same score."""
        linear = self.linear.plus(other.linear) if self.linear and other.linear else None
        return InitScore(prior_weight=self.prior_weight + other.prior_weight, linear=linear)

    def scores(self, values_nF: NDArray[np.floating], feature_names: Sequence[str]) -> Floats:
        """float64 [n]; a missing fused score counts as 0."""
        prior_n = self._prior(values_nF, feature_names)
        return prior_n if self.linear is None else self.linear.scores(values_nF) + prior_n

    def contributions(self, values_nF: NDArray[np.floating], feature_names: Sequence[str]) -> Floats:
        """float64 [n, F]: what each feature adds to the score."""
        parts_nF = np.zeros(values_nF.shape) if self.linear is None else self.linear.contributions(values_nF)
        if PRIOR_FEATURE in feature_names:
            parts_nF[:, list(feature_names).index(PRIOR_FEATURE)] += self._prior(values_nF, feature_names)
        return parts_nF

    def _prior(self, values_nF: NDArray[np.floating], feature_names: Sequence[str]) -> Floats:
        if not self.prior_weight or PRIOR_FEATURE not in feature_names:
            return np.zeros(len(values_nF))
        fused_n = values_nF[:, list(feature_names).index(PRIOR_FEATURE)].astype(np.float64)
        return np.asarray(self.prior_weight * np.nan_to_num(fused_n), np.float64)


def fit_linear(rows: RankingRows, gains: Sequence[float], l2: float) -> LinearModel:
    """Minimise the logistic loss over pairs of rows of one query with different grades.

    The weight of a pair is the difference of its gains times the weights of its rows; the pairs of a query together
    weigh as much as its rows weigh on average. Features are standardised by their spread within queries.

    Args:
        rows: rows of one or more queries; a query whose rows all have one grade adds no pair.
        gains: gain of grade 0, 1, …
        l2: penalty on the standardised weights, above 0; the loss it competes with is a sum over queries.

    Source: Joachims, KDD 2002 (pairs within a query); Burges et al., ICML 2005, eq. 3 (logistic loss).
    doi:10.1145/1102351.1102363
    """
    group_n = np.repeat(np.arange(rows.num_queries), np.diff(rows.offsets_G))
    missing_nF = np.isnan(rows.values_nF)
    num_present_F = np.maximum((~missing_nF).sum(axis=0), 1)
    means_F = np.where(missing_nF, 0.0, rows.values_nF).sum(axis=0, dtype=np.float64) / num_present_F
    values_nF = np.where(missing_nF, 0.0, rows.values_nF - means_F)
    share_missing_F = missing_nF.mean(axis=0)
    marked_F = np.flatnonzero((share_missing_F > _RARE) & (share_missing_F < 1 - _RARE))
    columns_nZ = np.concatenate([values_nF, missing_nF[:, marked_F]], axis=1)
    spread_Z = _spread(columns_nZ, group_n)
    columns_nZ = np.clip(columns_nZ / spread_Z, -_CLIP, _CLIP)
    weights_Z = _minimise_loss(columns_nZ, *_pairs(rows, np.asarray(gains)), l2) / spread_Z
    num_features = len(means_F)
    missing_F = np.zeros(num_features)
    # the fit also clipped the missing marks of rarely missing features
    marks_Z = np.minimum(_CLIP * spread_Z[num_features:], 1.0)
    missing_F[marked_F] = weights_Z[num_features:] * marks_Z
    limits_F = np.where(np.isinf(spread_Z), 0.0, _CLIP * spread_Z)[:num_features]
    return LinearModel(
        means_F=tuple(means_F.tolist()),
        limits_F=tuple(limits_F.tolist()),
        slopes_F=tuple(weights_Z[:num_features].tolist()),
        missing_F=tuple(missing_F.tolist()),
    )


def _spread(columns_nZ: Floats, group_n: Ints) -> Floats:
    """Standard deviation within queries, [Z]; infinite for a constant column, so that its weight is 0."""
    sizes_G = np.bincount(group_n)
    means_GZ = np.stack([np.bincount(group_n, column) for column in columns_nZ.T], axis=1) / sizes_G[:, np.newaxis]
    within_Z = np.sqrt(np.mean((columns_nZ - means_GZ[group_n]) ** 2, axis=0))
    overall_Z = columns_nZ.std(axis=0)
    differs_Z = within_Z > _RARE * np.maximum(overall_Z, _RARE)
    return np.where(differs_Z, np.maximum(within_Z, _MIN_SPREAD * overall_Z), np.inf)


def _pairs(rows: RankingRows, gains: Floats) -> tuple[Ints, Ints, Floats]:
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


def _minimise_loss(columns_nZ: Floats, better_P: Ints, worse_P: Ints, weights_P: Floats, l2: float) -> Floats:
    def loss(weights_Z: Floats) -> tuple[float, Floats]:
        scores_n = columns_nZ @ weights_Z
        margins_P = scores_n[better_P] - scores_n[worse_P]
        pulls_P = weights_P * np.exp(-np.logaddexp(0.0, margins_P))
        pulls_n = np.bincount(worse_P, pulls_P, len(scores_n)) - np.bincount(better_P, pulls_P, len(scores_n))
        value = weights_P @ np.logaddexp(0.0, -margins_P) + l2 * weights_Z @ weights_Z / 2
        return float(value), columns_nZ.T @ pulls_n + l2 * weights_Z

    start: Any = np.zeros(columns_nZ.shape[1])
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _MAX_STEPS}).x, np.float64)
