"""The search space of fine-tuning: learning rate, batch size, weight decay, warm-up, FGM and temperature.

A point is a flat mapping from setting to value. Settings that are not searched keep the values of the job's config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ray import tune

from intarsia.config import setting
from intarsia.training.loop import FitConfig
from intarsia.training.text_pairs import TextPairsConfig

_TEMPERATURE = "temperature"  # of the loss; all others are settings of the fit


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuningSpaceConfig:
    """Which settings of a fit are tried."""

    learning_rates: tuple[float, float] = setting(
        "smallest and largest peak learning rate; log-uniform between", (5e-6, 2e-4), advanced=True
    )
    batch_sizes: tuple[int, ...] = setting("examples per batch", (8, 16, 32), advanced=True)
    weight_decays: tuple[float, ...] = setting("weight decay of AdamW", (0.0, 0.01, 0.1), advanced=True)
    warmup_shares: tuple[float, ...] = setting(
        "share of the steps with a rising learning rate", (0.0, 0.1), advanced=True
    )
    fgm_epsilons: tuple[float, ...] = setting(
        "length of the adversarial perturbation (FGM), 0 for none; searched only if the whole tower is trained",
        (0.0, 0.5, 1.0),
        advanced=True,
    )
    temperatures: tuple[float, float] = setting(
        "smallest and largest temperature that the loss divides cosines by; log-uniform between",
        (0.02, 0.2),
        advanced=True,
    )

    def __post_init__(self) -> None:
        for name in ("learning_rates", "temperatures"):
            low, high = getattr(self, name)
            if not 0 < low < high:
                raise ValueError(f"{name} is {low}..{high}; allowed: above 0, rising")
        for name in ("batch_sizes", "weight_decays", "warmup_shares", "fgm_epsilons"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; allowed: at least one value")


def finetuning_space(config: FinetuningSpaceConfig, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Ray Tune domains by name of the setting, widened so that they contain the point `own`."""

    def between(name: str, low: float, high: float) -> Any:
        return tune.loguniform(min(low, own[name]), max(high, own[name]))

    def one_of(name: str, values: Sequence[float]) -> Any:
        return tune.choice(list(dict.fromkeys([*values, own[name]])))

    return {
        "learning_rate": between("learning_rate", *config.learning_rates),
        "batch_size": one_of("batch_size", config.batch_sizes),
        "weight_decay": one_of("weight_decay", config.weight_decays),
        "warmup_share": one_of("warmup_share", config.warmup_shares),
        "fgm_epsilon": one_of("fgm_epsilon", config.fgm_epsilons),
        _TEMPERATURE: between(_TEMPERATURE, *config.temperatures),
    }


def point_of(fit: FitConfig, pairs: TextPairsConfig) -> dict[str, Any]:
    """Return the point of these settings."""
    names = ("learning_rate", "batch_size", "weight_decay", "warmup_share", "fgm_epsilon")
    return {name: getattr(fit, name) for name in names} | {_TEMPERATURE: pairs.loss.temperature}


def fit_of_point(point: Mapping[str, Any], base: FitConfig) -> FitConfig:
    """Return the fit config of a point of the space."""
    return replace(base, **{name: value for name, value in point.items() if name != _TEMPERATURE})


def pairs_of_point(point: Mapping[str, Any], base: TextPairsConfig) -> TextPairsConfig:
    """Return the config of the training pairs, with the loss temperature of a point of the space."""
    return replace(base, loss=replace(base.loss, temperature=point[_TEMPERATURE]))
