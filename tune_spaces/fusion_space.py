"""The search space of fusions: the method and its settings, as flat points, and the settings that a point stands for.

A method without fitted parts is a `FusionSpec`: normaliser, weights, rrf_k and depth are searched. A fitted method
finds its weights itself; only the settings of its fit are searched.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from ray import tune

from intarsia.config import setting
from intarsia.fusion.feature.config import FEATURE_METHODS
from intarsia.fusion.fuser import SPEC_METHODS
from intarsia.fusion.method import MethodConfig
from intarsia.fusion.registry import parse_method_config, registered_method
from intarsia.fusion.spec import FusionSpec, NormaliserName

_MIN_DRAW = 1e-6  # of a weight: its -log, 13.8, divided by the sum of all, is nearly 1: a corner of the simplex

SEARCHED_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "weighted": {"num_steps": tune.choice([4, 5, 8])},
    "boosting": {
        "learning_rate": tune.loguniform(0.02, 0.2),
        "num_leaves": tune.choice([4, 8, 16]),
        "min_data_in_leaf": tune.choice([20, 50, 150]),
        "lambda_l2": tune.loguniform(0.5, 50.0),
    },
    "stacking": {"l2": tune.loguniform(1e-4, 1e-1)},
    "gate": {"num_fits": tune.choice([4, 8, 16]), "list_length": tune.choice([50, 100, 200])},
    "bagging": {"num_bags": tune.choice([4, 8])},
    **{
        kind: {
            "joint.learning_rate": tune.loguniform(5e-4, 5e-3),
            "joint.width": tune.choice([64, 128]),
            "joint.dropout": tune.choice([0.0, 0.1, 0.3]),
            "joint.modality_dropout": tune.choice([0.0, 0.2, 0.4]),
            **({"joint.num_layers": tune.choice([1, 2])} if kind == "joint_transformer" else {}),
        }
        for kind in FEATURE_METHODS
    },
}
"""The searched settings of each fitted method; nested ones have dotted names. Without an entry, defaults are used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSpaceConfig:
    """Which fusion methods and settings are tried."""

    kinds: tuple[str, ...] = setting(
        "fusion methods; each trial of a fitted one (weighted, gate, boosting, gated ...) fits it once per fold",
        ("convex", "rrf", "equal", "comb_sum", "comb_mnz", "gated"),
    )
    normalisers: tuple[NormaliserName, ...] = setting(
        "normalisers of convex, equal, comb_sum and comb_mnz",
        ("min_max", "theoretical_min_max", "z", "atan", "quantile"),
        advanced=True,
    )
    depths: tuple[int, ...] = setting(
        "ranks per retriever; a value above the engine's depth is replaced by it", (50, 100, 200), advanced=True
    )
    rrf_k_min: float = setting("smallest rrf_k; log-uniform between", 5.0, advanced=True)
    rrf_k_max: float = setting("largest rrf_k", 200.0, advanced=True)
    settings: Mapping[str, Mapping[str, Any]] = setting(
        "settings of fitted methods, by name of the method; a setting that is given here is not searched",
        factory=dict,
        advanced=True,
    )

    def __post_init__(self) -> None:
        if not (self.kinds and self.normalisers and self.depths):
            raise ValueError("kinds, normalisers and depths need at least one value each")
        if min(self.depths) < 1:
            raise ValueError(f"depths has {min(self.depths)}; allowed: 1 or more")
        if not 0 < self.rrf_k_min <= 60.0 <= self.rrf_k_max:
            raise ValueError(f"rrf_k {self.rrf_k_min}..{self.rrf_k_max}; allowed: above 0, with the usual 60 inside")
        for kind in self.kinds:
            registered_method(kind)
        for kind, values in self.settings.items():
            if kind in SPEC_METHODS or kind not in self.kinds:
                raise ValueError(
                    f"settings has {kind}; allowed: fitted kinds among kinds, {', '.join(self.fitted) or 'none'}"
                )
            parse_method_config({"kind": kind, **values}, where=f"settings.{kind}")

    @property
    def fitted(self) -> tuple[str, ...]:
        """The fitted methods among `kinds`."""
        return tuple(kind for kind in self.kinds if kind not in SPEC_METHODS)


def fusion_space(retrievers: Sequence[str], config: FusionSpaceConfig, *, max_depth: int) -> dict[str, Any]:
    """Return the Ray Tune domains by name. Weights are uniform on the simplex, see `spec_of_point`."""
    searched = {kind: _searched_domains(kind, config) for kind in config.fitted}
    return {
        "kind": tune.choice(list(config.kinds)),
        "normaliser": tune.choice(list(config.normalisers)),
        "depth": tune.choice(_depths(config, max_depth)),
        "rrf_k": tune.loguniform(config.rrf_k_min, config.rrf_k_max),
        **{_draw_name(name): tune.uniform(_MIN_DRAW, 1.0) for name in retrievers},
        **{f"{kind}.{name}": domain for kind, domains in searched.items() for name, domain in domains.items()},
    }


def first_points(retrievers: Sequence[str], config: FusionSpaceConfig, *, max_depth: int) -> list[dict[str, Any]]:
    """Return the first points: methods with equal weights, each single retriever, each fitted method by default."""
    start = {
        "kind": config.kinds[0],
        "normaliser": config.normalisers[0],
        "depth": _depths(config, max_depth)[-1],
        "rrf_k": 60.0,
        **{_draw_name(name): 0.5 for name in retrievers},
    }
    for kind in config.fitted:
        default = parse_method_config({"kind": kind})
        start |= {f"{kind}.{name}": attrgetter(name)(default) for name in _searched_domains(kind, config)}
    points = [{**start, "kind": kind} for kind in config.kinds if kind != "convex" and kind in SPEC_METHODS]
    if "convex" in config.kinds:
        single = [
            {_draw_name(other): _MIN_DRAW if other == name else 1.0 for other in retrievers} for name in retrievers
        ]
        points += [{**start, "kind": "convex", **draws} for draws in single]
    return points + [{**start, "kind": kind} for kind in config.fitted]


def config_of_point(point: Mapping[str, Any], retrievers: Sequence[str], config: FusionSpaceConfig) -> MethodConfig:
    """Return the settings of a point of the space: a `FusionSpec`, or the config of a fitted method."""
    kind = point["kind"]
    if kind in SPEC_METHODS:
        return spec_of_point(point, retrievers)
    prefix = f"{kind}."
    values: dict[str, Any] = {"kind": kind}
    for name, value in config.settings.get(kind, {}).items():
        values[name] = dict(value) if isinstance(value, Mapping) else value
    for name, value in point.items():
        if name.startswith(prefix):
            *groups, last = name.removeprefix(prefix).split(".")
            inner = values
            for group in groups:
                inner = inner.setdefault(group, {})
            inner[last] = value
    return parse_method_config(values)


def spec_of_point(point: Mapping[str, Any], retrievers: Sequence[str]) -> FusionSpec:
    """Return the spec of a point of a method without fitted parts.

    Each retriever has a draw u in (0, 1]. The values -log(u), divided by their sum, are uniform on the simplex. If all
    draws are 1, the weights are equal.
    """
    if point["kind"] == "equal":
        return FusionSpec(kind="equal", normaliser=point["normaliser"], depth=point["depth"])
    shares = {name: math.log(1.0 / point[_draw_name(name)]) for name in retrievers}
    total = sum(shares.values())
    weights = {name: share / total if total else 1.0 / len(shares) for name, share in shares.items()}
    return FusionSpec(
        kind=point["kind"],
        normaliser=point["normaliser"],
        depth=point["depth"],
        rrf_k=point["rrf_k"],
        weights=weights,
    )


def _searched_domains(kind: str, config: FusionSpaceConfig) -> dict[str, Any]:
    fixed = config.settings.get(kind, {})
    return {name: domain for name, domain in SEARCHED_SETTINGS.get(kind, {}).items() if not _is_fixed(name, fixed)}


def _is_fixed(dotted: str, values: Mapping[str, Any]) -> bool:
    first, _, rest = dotted.partition(".")
    if first not in values:
        return False
    return not rest or not isinstance(values[first], Mapping) or _is_fixed(rest, values[first])


def _depths(config: FusionSpaceConfig, max_depth: int) -> list[int]:
    return sorted({min(depth, max_depth) for depth in config.depths})


def _draw_name(retriever: str) -> str:
    return f"draw_{retriever}"
