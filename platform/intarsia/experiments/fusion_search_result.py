"""The result of a fusion search: all trials, and the finalists compared with the chosen fusion.

`pipelines/search_fusion.py` runs the search and writes the result to `trials.json`; `evaluate_release` reads it.
Letters: Q queries, M finalists.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from intarsia.config import to_jsonable
from intarsia.evaluation.report import FusionTrialRow
from intarsia.evaluation.significance import (
    Interval,
    PairedDifference,
    bootstrap_mean,
    holm,
    paired_bootstrap,
    permutation_p_values,
)
from intarsia.experiments.fusion_objective import PackedCandidates, shrink_to_uniform, weigh_by_kind
from intarsia.fusion.fuser import SPEC_METHODS
from intarsia.fusion.method import MethodConfig
from intarsia.fusion.registry import FUSION_METHODS
from intarsia.fusion.spec import FusionSpec
from intarsia.maths.arrays import Floats
from intarsia.maths.ndcg import mean_known

CUTOFF = 10
"""The search maximises nDCG@10."""
TRIALS_FILE = "trials.json"
"""The `FusionSearch` as JSON, in the folder of the fusion."""
SHRINKAGE = ", shrunk"
"""Suffix of the name of a fusion whose weights were moved towards equal weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredFusion:
    """One fusion and its mean nDCG@10.

    Attributes:
        name: name in the report.
        spec: its settings, of any method; None for a single retriever, and for a trial without a valid configuration.
        train: mean on the train queries, out of fold for a fitted method; None for a failed trial.
        validation: mean on the validation queries.
        chosen_minus_it: the chosen fusion minus this one on validation.
        p_holm: permutation test of that difference, corrected for all fusions of the table.
        error: why the trial failed.
        stopped: the trial was stopped before all folds were measured.
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
    """The chosen fusion, the baselines and finalists compared with it, and every trial."""

    chosen: MeasuredFusion
    baselines: tuple[MeasuredFusion, ...]
    finalists: tuple[MeasuredFusion, ...]
    trials: tuple[MeasuredFusion, ...]


def best_distinct(trials: Sequence[MeasuredFusion], num: int) -> list[MeasuredFusion]:
    """The best unfitted trials on train.

    Of trials with equal scores only the deepest is kept: it gives the ranker most candidates.
    """
    by_score: dict[float, MeasuredFusion] = {}
    for trial in trials:
        if (
            isinstance(trial.spec, FusionSpec)
            and trial.train is not None
            and (trial.train not in by_score or spec_of(trial).depth > spec_of(by_score[trial.train]).depth)
        ):
            by_score[trial.train] = trial
    return [by_score[score] for score in sorted(by_score, reverse=True)[:num]]


def best_of_kind(trials: Sequence[MeasuredFusion], kind: str) -> MeasuredFusion | None:
    """The best trial of a fitted method on train, among those that were not stopped."""
    finished = [
        trial
        for trial in trials
        if trial.spec is not None and trial.spec.kind == kind and trial.train is not None and not trial.stopped
    ]
    return max(finished, key=lambda trial: trial.train or 0.0, default=None)


def with_weights_by_kind(
    fusion: MeasuredFusion, train: PackedCandidates, *, num_steps: int, min_queries: int
) -> MeasuredFusion | None:
    """The same fusion with weights by kind of query; None if no kind of query gains by its own weights."""
    spec = weigh_by_kind(spec_of(fusion), train, k=CUTOFF, num_steps=num_steps, min_queries=min_queries)
    if not spec.weights_by_kind:
        return None
    return MeasuredFusion(name=f"{fusion.name}, by kind", spec=spec, train=mean_known(train.ndcg(spec, CUTOFF)))


def with_shrunk_weights(
    fusion: MeasuredFusion, splits: Sequence[PackedCandidates], *, max_loss: float
) -> MeasuredFusion:
    """Move the weights of a fusion towards equal weights, as far as the nDCG allows.

    This is for queries that favour one retriever, such as synthetic ones.
    """
    spec = shrink_to_uniform(spec_of(fusion), splits, k=CUTOFF, max_loss=max_loss)
    return MeasuredFusion(name=f"{fusion.name}{SHRINKAGE}", spec=spec, train=mean_known(splits[0].ndcg(spec, CUTOFF)))


def plain_fusions(depth: int) -> dict[str, FusionSpec]:
    """The baselines of every search, by name."""
    return {
        "equal weights": FusionSpec(kind="equal", depth=depth),
        "rrf, k 60": FusionSpec(kind="rrf", depth=depth),
    }


def single_retrievers(train: PackedCandidates, validation: PackedCandidates) -> Iterator[tuple[MeasuredFusion, Floats]]:
    """The order of each retriever alone, with its validation values; a query that it cannot answer counts 0."""
    spec = FusionSpec(kind="equal")  # with one retriever: the order of its scores
    for name in validation.batch.retrievers:
        on_train = mean_known(train.only_retriever(name).ndcg(spec, CUTOFF))
        on_validation_Q = validation.only_retriever(name).ndcg(spec, CUTOFF)
        yield MeasuredFusion(name=f"{name} alone", spec=None, train=on_train), on_validation_Q


def compare_with_chosen(
    fusions: Sequence[tuple[MeasuredFusion, Floats]], chosen_Q: Floats, seed: int
) -> list[MeasuredFusion]:
    """Each fusion with its validation interval and its paired difference to the chosen one.

    The p values are corrected for all fusions.
    """
    values_QM = np.stack([values_Q for _, values_Q in fusions], axis=1)
    p_M = permutation_p_values(chosen_Q[:, None] - values_QM, seed=seed)
    return [
        replace(
            fusion,
            validation=bootstrap_mean(values_Q, seed=seed),
            chosen_minus_it=paired_bootstrap(chosen_Q, values_Q, seed=seed),
            p_holm=float(p),
        )
        for (fusion, values_Q), p in zip(fusions, holm(p_M), strict=True)
    ]


def spec_of(fusion: MeasuredFusion) -> FusionSpec:
    """The settings of an unfitted fusion."""
    assert isinstance(fusion.spec, FusionSpec)
    return fusion.spec


def result_lines(search: FusionSearch) -> list[str]:
    """The table of baselines and finalists for a terminal, and the chosen fusion."""
    lines = [f"{'nDCG@10':<26} train  validation [95 %]      the chosen minus it"]
    for fusion in (*search.baselines, *search.finalists):
        assert fusion.train is not None
        assert fusion.validation is not None
        assert fusion.chosen_minus_it is not None
        gain, mean = fusion.chosen_minus_it.difference, fusion.validation
        difference = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] {fusion.chosen_minus_it.verdict}"
        lines.append(
            f"{fusion.name:<26} {fusion.train:.3f}  {mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]  "
            f"{'chosen' if fusion.name == search.chosen.name else difference}"
        )
    lines += [f"{trial.name} failed: {trial.error}" for trial in search.trials if trial.error]
    assert search.chosen.spec is not None
    return [*lines, f"chosen: {describe_fusion(search.chosen.spec)}"]


def describe_fusion(spec: MethodConfig) -> str:
    """A fusion as one line of text."""
    return f"{spec.kind}, {describe_settings(to_jsonable(spec))}{'' if isinstance(spec, FusionSpec) else ', fitted'}"


def describe_settings(settings: Mapping[str, Any]) -> str:
    """The settings of a fusion as text, without its method; for a fitted method only what differs from the defaults."""
    if settings["kind"] in SPEC_METHODS:
        return _describe_spec(settings)
    kind = FUSION_METHODS.get(settings["kind"])
    defaults = dict(_flatten(to_jsonable(kind.config(kind=settings["kind"])))) if kind else {}
    changed = [f"{name} {text}" for name, text in _flatten(settings) if name != "kind" and defaults.get(name) != text]
    return ", ".join(changed) or "defaults"


def read_search(fusion_spec: Path) -> Mapping[str, Any]:
    """The `FusionSearch` of a saved fusion, as JSON values."""
    search: Mapping[str, Any] = json.loads((fusion_spec / TRIALS_FILE).read_text(encoding="utf-8"))
    return search


def trial_rows(search: Mapping[str, Any]) -> tuple[FusionTrialRow, ...]:
    """Every trial in the order in which the search chose them, also stopped and failed ones.

    Args:
        search: from `read_search`.
    """
    return tuple(
        FusionTrialRow(
            number=number,
            kind=trial["spec"]["kind"] if trial["spec"] else "",
            settings=describe_settings(trial["spec"]) if trial["spec"] else "",
            score=trial["train"],
            stopped=trial.get("stopped", False),
            error=trial["error"] or "",
        )
        for number, trial in enumerate(search["trials"])
    )


def describe_choice(search: Mapping[str, Any]) -> str:
    """Which fusion was chosen and by which queries, in one or two sentences; empty if the table names none.

    Args:
        search: from `read_search`.
    """
    chosen = search.get("chosen")
    if chosen is None:
        return ""
    name = f"Chosen: {chosen['name']} ({chosen['spec']['kind']})"
    if chosen["name"].endswith(SHRINKAGE):
        return (
            f"{name}. There are no judged queries, and synthetic queries favour bm25: it is the best on the synthetic "
            "validation queries, with its weights moved towards equal as far as search_fusion.max_synthetic_loss "
            "allows."
        )
    best_unfitted = "best on the validation queries among equal weights, RRF and the best trials without fitted parts"
    if chosen["spec"]["kind"] in SPEC_METHODS:
        beaten = "; no fitted method was better on out-of-fold train queries"
        return f"{name}, {best_unfitted}{beaten if any(map(_is_fitted, search['trials'])) else ''}."
    unfitted = [fusion for fusion in (*search["baselines"], *search["finalists"]) if _is_unfitted(fusion)]
    best = max(unfitted, key=lambda fusion: fusion["validation"]["mean"])  # the first of equals, as in the search
    return (
        f"{name}. It is fitted, and validation queries stop its fit, so it was chosen on the train queries: its "
        f"out-of-fold mean is {chosen['train']:.3f}, against {best['train']:.3f} of {best['name']} "
        f"({best['spec']['kind']}), {best_unfitted}."
    )


def _is_fitted(fusion: Mapping[str, Any]) -> bool:
    return fusion["spec"] is not None and not _is_unfitted(fusion) and fusion["train"] is not None


def _is_unfitted(fusion: Mapping[str, Any]) -> bool:
    return fusion["spec"] is not None and fusion["spec"]["kind"] in SPEC_METHODS


def _describe_spec(spec: Mapping[str, Any]) -> str:
    scale = f"k {spec['rrf_k']:.1f}" if spec["kind"] == "rrf" else spec["normaliser"]
    parts = [f"{scale}, depth {spec['depth']}"]
    for kind, weights in [("all", spec["weights"]), *spec["weights_by_kind"].items()]:
        shares = [f"{name} {weight / sum(weights.values()):.2f}" for name, weight in weights.items() if weight]
        parts.append(f"{kind}: {', '.join(shares) or 'all equal'}")
    return "; ".join(parts)


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings under dotted names, numbers with three digits."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", f"{value:.3g}" if isinstance(value, float) else str(value)
