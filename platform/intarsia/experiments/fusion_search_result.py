"""What a search for the fusion found: everything tried, the finalists beside the chosen one, and how that is said.

Who tries what is `pipelines/search_fusion`'s matter. Letters: Q queries, M finalists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from intarsia.config import to_jsonable
from intarsia.evaluation.compare import Interval, PairedDifference, bootstrap_mean, paired_bootstrap
from intarsia.evaluation.significance import holm, permutation_p_values
from intarsia.experiments.packed_candidates import PackedCandidates, shrink_to_uniform, weigh_by_kind
from intarsia.fusion.fuser import SPEC_METHODS
from intarsia.fusion.method import MethodConfig
from intarsia.fusion.registry import FUSION_METHODS
from intarsia.fusion.spec import FusionSpec
from intarsia.maths.arrays import Floats
from intarsia.maths.ndcg import mean_known

CUTOFF = 10
"""nDCG@10 is what is searched for."""
TRIALS_FILE = "trials.json"
"""The `FusionSearch` as plain values, in the folder of the fusion."""
SHRINKAGE = ", leaning"
"""Ends the name of a fusion whose weights were moved towards equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One fusion and its mean nDCG@10; a baseline that asks one retriever alone has no spec, a failed trial no figures.

    Attributes:
        spec: the settings, of whatever kind.
        train: on the train queries; of a fitted kind, on queries that its fit had not seen.
        p_holm: of a permutation test between the chosen one and it on validation, corrected for all it is set beside.
        stopped: the trial was given up before all its folds were measured.
    """

    name: str
    spec: MethodConfig | None
    train: float | None
    validation: Interval | None = None
    chosen_minus_it: PairedDifference | None = None
    p_holm: float | None = None
    error: str | None = None
    stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSearch:
    """The fusion that was best on validation, the baselines and finalists beside it, and every trial."""

    chosen: Tried
    baselines: tuple[Tried, ...]
    finalists: tuple[Tried, ...]
    trials: tuple[Tried, ...]


def best_different(trials: Sequence[Tried], num: int) -> list[Tried]:
    """The trials of specs that are best on train, of those with equal figures the deepest only: it gives the ranker most to lift."""
    different: dict[float, Tried] = {}
    for one in trials:
        if (
            isinstance(one.spec, FusionSpec)
            and one.train is not None
            and (one.train not in different or spec_of(one).depth > spec_of(different[one.train]).depth)
        ):
            different[one.train] = one
    return [different[train] for train in sorted(different, reverse=True)[:num]]


def best_of_kind(trials: Sequence[Tried], kind: str) -> Tried | None:
    """The trial of a fitted kind that is best on train, of those that were measured to the end."""
    mine = [
        one
        for one in trials
        if one.spec is not None and one.spec.kind == kind and one.train is not None and not one.stopped
    ]
    return max(mine, key=lambda one: one.train or 0.0, default=None)


def by_kind(one: Tried, train: PackedCandidates, *, num_steps: int, min_queries: int) -> Tried | None:
    """The same fusion with weights by kind of query; None where no kind of query gains by weights of its own."""
    spec = weigh_by_kind(spec_of(one), train, k=CUTOFF, num_steps=num_steps, min_queries=min_queries)
    if not spec.weights_by_kind:
        return None
    return Tried(name=f"{one.name}, by kind", spec=spec, train=mean_known(train.ndcg(spec, CUTOFF)))


def lean(one: Tried, tasks: Sequence[PackedCandidates], *, may_lose: float) -> Tried:
    """The same fusion, its weights nearer to equal; the first of `tasks` is train."""
    spec = shrink_to_uniform(spec_of(one), tasks, k=CUTOFF, may_lose=may_lose)
    return Tried(name=f"{one.name}{SHRINKAGE}", spec=spec, train=mean_known(tasks[0].ndcg(spec, CUTOFF)))


def plain_fusions(depth: int) -> dict[str, FusionSpec]:
    """What every search is set beside."""
    return {
        "equal weights": FusionSpec(kind="equal", depth=depth),
        "rrf, k 60": FusionSpec(kind="rrf", depth=depth),
    }


def alone(train: PackedCandidates, validation: PackedCandidates) -> Iterator[tuple[Tried, Floats]]:
    """Each retriever's own order; a query that it cannot answer counts 0."""
    order = FusionSpec(kind="equal")  # of one retriever: the order of its scores
    for name in validation.batch.retrievers:
        on_train = mean_known(train.alone(name).ndcg(order, CUTOFF))
        yield Tried(name=f"{name} alone", spec=None, train=on_train), validation.alone(name).ndcg(order, CUTOFF)


def beside_chosen(tried: Sequence[tuple[Tried, Floats]], chosen_Q: Floats, seed: int) -> list[Tried]:
    """Each with its interval, and the chosen one beside it: paired difference, and p corrected for all that differ from it at all."""
    values_QM = np.stack([values_Q for _, values_Q in tried], axis=1)
    p_M = permutation_p_values(chosen_Q[:, None] - values_QM, seed=seed)
    return [
        replace(
            one,
            validation=bootstrap_mean(values_Q, seed=seed),
            chosen_minus_it=paired_bootstrap(chosen_Q, values_Q, seed=seed),
            p_holm=float(p),
        )
        for (one, values_Q), p in zip(tried, holm(p_M), strict=True)
    ]


def spec_of(one: Tried) -> FusionSpec:
    """Its settings, where they are a spec."""
    assert isinstance(one.spec, FusionSpec)
    return one.spec


def table(found: FusionSearch) -> list[str]:
    """The lines that the job prints: baselines, finalists, and what the chosen one gains over each."""
    lines = [f"{'nDCG@10':<26} train  validation [95 %]      the chosen minus it"]
    for one in (*found.baselines, *found.finalists):
        assert one.train is not None
        assert one.validation is not None
        assert one.chosen_minus_it is not None
        gain, mean = one.chosen_minus_it.difference, one.validation
        against = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] {one.chosen_minus_it.verdict}"
        lines.append(
            f"{one.name:<26} {one.train:.3f}  {mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]  "
            f"{'chosen' if one.name == found.chosen.name else against}"
        )
    lines += [f"{one.name} failed: {one.error}" for one in found.trials if one.error]
    assert found.chosen.spec is not None
    return [*lines, f"chosen: {said(found.chosen.spec)}"]


def said(spec: MethodConfig) -> str:
    """A fusion on one line."""
    return f"{spec.kind}, {describe_settings(to_jsonable(spec))}{'' if isinstance(spec, FusionSpec) else ', fitted'}"


def describe_settings(settings: Mapping[str, Any]) -> str:
    """A fusion's settings in words, without its kind: of a fitted one, whose weights are found, what differs from the kind's defaults."""
    if settings["kind"] in SPEC_METHODS:
        return _spec_said(settings)
    kind = FUSION_METHODS.get(settings["kind"])
    usual = dict(_flat(to_jsonable(kind.config(kind=settings["kind"])))) if kind else {}
    changed = [f"{name} {value}" for name, value in _flat(settings) if name != "kind" and usual.get(name) != value]
    return ", ".join(changed) or "defaults"


def _spec_said(spec: Mapping[str, Any]) -> str:
    scale = f"k {spec['rrf_k']:.1f}" if spec["kind"] == "rrf" else spec["normaliser"]
    parts = [f"{scale}, depth {spec['depth']}"]
    for kind, weights in [("all", spec["weights"]), *spec["weights_by_kind"].items()]:
        shares = [f"{name} {weight / sum(weights.values()):.2f}" for name, weight in weights.items() if weight]
        parts.append(f"{kind}: {', '.join(shares) or 'all equal'}")
    return "; ".join(parts)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings within settings under dotted names, numbers rounded to be read."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", f"{value:.3g}" if isinstance(value, float) else str(value)
