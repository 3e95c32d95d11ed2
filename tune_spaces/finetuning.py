"""The space of fine-tuning fits: rate, batch, decay, adversarial push, as flat points; what is not searched stays as the config says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ray import tune

from intarsia.config import setting
from intarsia.encoders.learning.fit_config import FitConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuningSpaceConfig:
    """Which fits are tried."""

    learning_rates: tuple[float, float] = setting("smallest and largest peak rate; log-uniform between", (5e-6, 2e-4))
    batch_sizes: tuple[int, ...] = setting("examples that one loss sees", (8, 16, 32))
    weight_decays: tuple[float, ...] = setting("decay of weights", (0.0, 0.01, 0.1))
    warmup_shares: tuple[float, ...] = setting("share of the steps over which the rate rises", (0.0, 0.1))
    fgm_epsilons: tuple[float, ...] = setting("length of the adversarial push; 0 is none", (0.0, 0.5, 1.0))

    def __post_init__(self) -> None:
        low, high = self.learning_rates
        if not 0 < low < high:
            raise ValueError(f"learning_rates is {low}..{high}; allowed: above 0, rising")
        for name in ("batch_sizes", "weight_decays", "warmup_shares", "fgm_epsilons"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; allowed: at least one value")


def finetuning_space(config: FinetuningSpaceConfig) -> dict[str, Any]:
    """Ray Tune domains by name of the setting."""
    return {
        "learning_rate": tune.loguniform(*config.learning_rates),
        "batch_size": tune.choice(list(config.batch_sizes)),
        "weight_decay": tune.choice(list(config.weight_decays)),
        "warmup_share": tune.choice(list(config.warmup_shares)),
        "fgm_epsilon": tune.choice(list(config.fgm_epsilons)),
    }


def fit_of_point(point: Mapping[str, Any], base: FitConfig) -> FitConfig:
    """The fit that a point of the space stands for."""
    return replace(base, **point)
