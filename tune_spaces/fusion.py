"""The space of fusion specs: kind x normaliser x weights x k x depth, as flat points; a point and the spec it stands for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray import tune

from intarsia.config import setting
from intarsia.fusion.spec import FusionKind, FusionSpec, NormaliserName

_TINY = 1e-6  # the least a weight's draw can be: -log of it, 13.8, is the largest of a simplex corner before the sum is divided out


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSpaceConfig:
    """Which fusions are tried."""

    kinds: tuple[FusionKind, ...] = setting("fusion kinds", ("convex", "rrf", "equal"))
    normalisers: tuple[NormaliserName, ...] = setting(
        "of convex and equal", ("min_max", "theoretical_min_max", "z", "atan", "quantile")
    )
    depths: tuple[int, ...] = setting(
        "ranks per retriever; more than the engine's depth counts as that", (50, 100, 200)
    )
    rrf_k_min: float = setting("smallest damping of rrf; log-uniform between", 5.0)
    rrf_k_max: float = setting("largest damping of rrf", 200.0)

    def __post_init__(self) -> None:
        if not (self.kinds and self.normalisers and self.depths):
            raise ValueError("kinds, normalisers and depths need at least one value each")
        if not 0 < self.rrf_k_min <= 60.0 <= self.rrf_k_max:
            raise ValueError(f"rrf_k {self.rrf_k_min}..{self.rrf_k_max}; allowed: above 0, with the usual 60 inside")


def fusion_space(retrievers: Sequence[str], config: FusionSpaceConfig, *, max_depth: int) -> dict[str, Any]:
    """Ray Tune domains by name; weights are drawn so that every point of the simplex is equally likely (see `spec_of`)."""
    return {
        "kind": tune.choice(list(config.kinds)),
        "normaliser": tune.choice(list(config.normalisers)),
        "depth": tune.choice(_depths(config, max_depth)),
        "rrf_k": tune.loguniform(config.rrf_k_min, config.rrf_k_max),
        **{_draw_name(name): tune.uniform(_TINY, 1.0) for name in retrievers},
    }


def first_points(retrievers: Sequence[str], config: FusionSpaceConfig, *, max_depth: int) -> list[dict[str, Any]]:
    """Where a search starts: equal weights, plain RRF, each retriever alone, as far as the space holds them."""
    start = {
        "kind": config.kinds[0],
        "normaliser": config.normalisers[0],
        "depth": _depths(config, max_depth)[-1],
        "rrf_k": 60.0,
        **{_draw_name(name): 0.5 for name in retrievers},
    }
    points = [{**start, "kind": kind} for kind in config.kinds if kind in ("equal", "rrf")]
    if "convex" in config.kinds:
        alone = [{_draw_name(other): _TINY if other == name else 1.0 for other in retrievers} for name in retrievers]
        points += [{**start, "kind": "convex", **draws} for draws in alone]
    return points


def spec_of(point: Mapping[str, Any], retrievers: Sequence[str]) -> FusionSpec:
    """The spec that a point of the space stands for.

    A retriever's draw u in (0, 1] gives -log(u), and these, divided by their sum, are uniform on the simplex; all at 1 count as equal.
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


def _depths(config: FusionSpaceConfig, max_depth: int) -> list[int]:
    return sorted({min(depth, max_depth) for depth in config.depths})


def _draw_name(retriever: str) -> str:
    return f"draw_{retriever}"
