"""Several systems on the same judged queries: every metric with its interval, who beats whom, and in which slices.

Letters: Q queries, N products, M metrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.config import setting
from intarsia.evaluation.compare import Interval, PairedDifference, bootstrap_means, paired_bootstrap
from intarsia.evaluation.metrics import Gain, coverage_at_k, metric_values, split_metric
from intarsia.evaluation.qrels import Order, Qrels, grade_orders
from intarsia.evaluation.significance import holm, permutation_p_values
from intarsia.evaluation.slices import Slice
from intarsia.maths.arrays import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """What is measured, and how surely."""

    metrics: tuple[str, ...] = setting(
        "kind@k, the headline metric first",
        ("ndcg@10", "mrr@10", "recall@100", "precision@10", "recall@10", "f1@10"),
    )
    gain: Gain = setting("what a grade is worth to ndcg: exponential (2^grade - 1) or linear", "exponential")
    coverage_k: int = setting("catalog coverage counts the products on the first this many positions", 10)
    num_resamples: int = setting("bootstrap resamples of the queries", 10_000)
    seed: int = setting("of the bootstrap", 17)

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("metrics is empty; name at least one, for example ndcg@10")
        for name in self.metrics:
            split_metric(name)
        if self.coverage_k < 1 or self.num_resamples < 1:
            raise ValueError(f"coverage_k is {self.coverage_k}, num_resamples {self.num_resamples}; allowed: 1 or more")

    @property
    def headline(self) -> str:
        """The metric that comparisons and slices are made on."""
        return self.metrics[0]

    @property
    def depth(self) -> int:
        """How many positions of an order are looked at."""
        return max(split_metric(name)[1] for name in self.metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRow:
    """One system's means over all queries with a positive, and its share of the catalog shown."""

    name: str
    metrics: Mapping[str, Interval]
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """`system` minus `baseline` on one metric.

    `p_holm` is of a permutation test, corrected for all comparisons of the evaluation; NaN where it was not made.
    """

    system: str
    baseline: str
    metric: str
    paired: PairedDifference
    p_holm: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRow:
    """The headline metric of systems on one slice, and the first pair compared there."""

    group: str
    name: str
    num_queries: int
    systems: Mapping[str, Interval]
    paired: PairedDifference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All tables of one evaluation; `values` keeps the headline metric of each system per query (NaN: no positive)."""

    headline: str
    num_queries: int
    num_without_positive: int
    systems: tuple[SystemRow, ...]
    comparisons: tuple[ComparisonRow, ...]
    slices: tuple[SliceRow, ...]
    values: Mapping[str, Floats]

    def paired(self, system: str, baseline: str) -> PairedDifference:
        """The comparison of a pair that was asked for, on the headline metric."""
        return next(row.paired for row in self.comparisons if (row.system, row.baseline) == (system, baseline))


def evaluate_systems(
    systems: Mapping[str, Sequence[Order]],
    qrels: Sequence[Qrels],
    *,
    pairs: Sequence[tuple[str, str]],
    slices: Sequence[Slice],
    num_products: int,
    config: EvaluationConfig,
    whole_only: Sequence[str] = (),
) -> Evaluation:
    """Measure systems against judgments.

    Args:
        systems: each system's orders, one for each of `qrels`, best first, at least `config.depth` long where there is so much.
        qrels: the judgments of each query.
        pairs: (system, baseline) to be compared; the first is also compared in every slice.
        slices: parts of the queries.
        num_products: size of the catalog, for coverage.
        config: what to measure.
        whole_only: systems that no slice shows.

    Raises:
        ValueError: a pair names a system that is not there, or a system does not have one order for each query.
    """
    _check(systems, qrels, pairs)
    measured = {name: _measure(orders, qrels, config) for name, orders in systems.items()}
    values = {name: by_metric[config.headline] for name, by_metric in measured.items()}
    return Evaluation(
        headline=config.headline,
        num_queries=len(qrels),
        num_without_positive=sum(not (one.grades_J > 0).any() for one in qrels),
        systems=tuple(
            SystemRow(
                name=name,
                metrics=_intervals(by_metric, config),
                coverage=coverage_at_k(systems[name], num_products, config.coverage_k),
            )
            for name, by_metric in measured.items()
        ),
        comparisons=tuple(
            ComparisonRow(
                system=a, baseline=b, metric=config.headline, paired=_compare(values[a], values[b], config), p_holm=p
            )
            for (a, b), p in zip(pairs, _p_holm(values, pairs, config), strict=True)
        ),
        slices=tuple(
            _slice_row(one, {name: values[name] for name in values if name not in whole_only}, pairs, config)
            for one in slices
            if one.mask_Q.any()
        ),
        values=values,
    )


def mean_of(orders: Sequence[Order], qrels: Sequence[Qrels], metric: str, gain: Gain) -> float:
    """The mean of one metric over the queries with a positive; 0 when there is none."""
    values_Q = metric_values(metric, grade_orders(orders, qrels, split_metric(metric)[1]), gain)
    return float(np.nanmean(values_Q)) if np.isfinite(values_Q).any() else 0.0


def _check(systems: Mapping[str, Sequence[Order]], qrels: Sequence[Qrels], pairs: Sequence[tuple[str, str]]) -> None:
    for name, orders in systems.items():
        if len(orders) != len(qrels):
            raise ValueError(f"system {name} has {len(orders)} orders for {len(qrels)} queries")
    for name in (name for pair in pairs for name in pair):
        if name not in systems:
            raise ValueError(f"system {name} is to be compared and was not measured; measured: {', '.join(systems)}")


def _measure(orders: Sequence[Order], qrels: Sequence[Qrels], config: EvaluationConfig) -> dict[str, Floats]:
    graded = grade_orders(orders, qrels, config.depth)
    return {name: metric_values(name, graded, config.gain) for name in config.metrics}


def _intervals(by_metric: Mapping[str, Floats], config: EvaluationConfig) -> dict[str, Interval]:
    values_QM = np.stack(list(by_metric.values()), axis=1)
    intervals = bootstrap_means(values_QM, seed=config.seed, num_resamples=config.num_resamples)
    return dict(zip(by_metric, intervals, strict=True))


def _compare(a_Q: Floats, b_Q: Floats, config: EvaluationConfig) -> PairedDifference:
    return paired_bootstrap(a_Q, b_Q, seed=config.seed, num_resamples=config.num_resamples)


def _p_holm(values: Mapping[str, Floats], pairs: Sequence[tuple[str, str]], config: EvaluationConfig) -> list[float]:
    if not pairs:
        return []
    differences_QM = np.stack([values[a] - values[b] for a, b in pairs], axis=1)
    p_M: list[float] = holm(permutation_p_values(differences_QM, seed=config.seed)).tolist()
    return p_M


def _slice_row(
    one: Slice, values: Mapping[str, Floats], pairs: Sequence[tuple[str, str]], config: EvaluationConfig
) -> SliceRow:
    inside = {name: values_Q[one.mask_Q] for name, values_Q in values.items()}
    return SliceRow(
        group=one.group,
        name=one.name,
        num_queries=int(one.mask_Q.sum()),
        systems=_intervals(inside, config),
        paired=_compare(inside[pairs[0][0]], inside[pairs[0][1]], config) if pairs else None,
    )
