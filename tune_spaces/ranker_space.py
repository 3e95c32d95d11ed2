"""The search space of rankers: how LambdaMART trees are grown. Other settings keep the values of the job's config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ray import tune

from intarsia.config import setting
from intarsia.ranking.lambdamart import LambdaMartConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerSpaceConfig:
    """Which rankers are tried."""

    learning_rates: tuple[float, float] = setting(
        "smallest and largest learning rate; log-uniform between", (0.02, 0.15), advanced=True
    )
    num_leaves: tuple[int, ...] = setting("leaves of a tree", (7, 15, 31), advanced=True)
    min_data_in_leaf: tuple[int, ...] = setting("minimum number of rows in a leaf", (10, 30, 100), advanced=True)
    lambda_l2: tuple[float, float] = setting(
        "smallest and largest L2 penalty; log-uniform between", (1.0, 50.0), advanced=True
    )
    feature_fractions: tuple[float, float] = setting(
        "smallest and largest share of the features that a tree reads; uniform between", (0.3, 0.9), advanced=True
    )
    prior_weights: tuple[float, ...] = setting(
        "weights of the fused score as the initial score of the trees", (0.0, 0.25, 1.0), advanced=True
    )

    def __post_init__(self) -> None:
        for name in ("learning_rates", "lambda_l2", "feature_fractions"):
            low, high = getattr(self, name)
            if not 0 < low < high:
                raise ValueError(f"{name} is {low}..{high}; allowed: above 0, rising")
        if not (self.num_leaves and self.min_data_in_leaf and self.prior_weights):
            raise ValueError("num_leaves, min_data_in_leaf and prior_weights need at least one value each")


def ranker_space(config: RankerSpaceConfig) -> dict[str, Any]:
    """Return the Ray Tune domains by name of the setting."""
    return {
        "learning_rate": tune.loguniform(*config.learning_rates),
        "num_leaves": tune.choice(list(config.num_leaves)),
        "min_data_in_leaf": tune.choice(list(config.min_data_in_leaf)),
        "lambda_l2": tune.loguniform(*config.lambda_l2),
        "feature_fraction": tune.uniform(*config.feature_fractions),
        "prior_weight": tune.choice(list(config.prior_weights)),
    }


def ranker_of_point(point: Mapping[str, Any], base: LambdaMartConfig) -> LambdaMartConfig:
    """Return the ranker config of a point of the space."""
    return replace(base, **point)
