"""Measure several systems on the same judged queries: metrics with intervals, paired comparisons, and slices.

Letters: Q queries, N products, M metrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.config import setting
from intarsia.evaluation.metrics import Gain, coverage_at_k, metric_values, split_metric
from intarsia.evaluation.qrels import Order, Qrels, grade_orders
from intarsia.evaluation.significance import (
    Interval,
    PairedDifference,
    bootstrap_means,
    holm,
    paired_bootstrap,
    permutation_p_values,
)
from intarsia.evaluation.slices import Slice
from intarsia.maths.arrays import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """Metrics, and bootstrap settings of their intervals."""

    metrics: tuple[str, ...] = setting(
        "metrics as name@k; the first is the headline metric",
        ("ndcg@10", "mrr@10", "recall@100", "precision@10", "recall@10", "f1@10"),
    )
    gain: Gain = setting(
        "gain of a grade in ndcg: exponential (2^grade - 1) or linear (grade)", "exponential", advanced=True
    )
    coverage_k: int = setting(
        "catalog coverage counts the products in the first this many positions", 10, advanced=True
    )
    num_resamples: int = setting("bootstrap resamples of the queries", 10_000, advanced=True)
    seed: int = setting("seed of the bootstrap and of the missing images", 17, advanced=True)

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("metrics is empty; name at least one, for example ndcg@10")
        for name in self.metrics:
            split_metric(name)
        if self.coverage_k < 1 or self.num_resamples < 1:
            raise ValueError(f"coverage_k is {self.coverage_k}, num_resamples {self.num_resamples}; allowed: 1 or more")

    @property
    def headline(self) -> str:
        """The metric of comparisons and slices."""
        return self.metrics[0]

    @property
    def depth(self) -> int:
        """The largest k of the metrics."""
        return max(split_metric(name)[1] for name in self.metrics)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRow:
    """One system: means over the queries with a relevant product, and the share of the catalog that it shows."""

    name: str
    metrics: Mapping[str, Interval]
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """`system` minus `baseline` on one metric.

    `p_holm` is the p value of a permutation test, corrected for all comparisons of the evaluation; NaN if no test was
    made.
    """

    system: str
    baseline: str
    metric: str
    paired: PairedDifference
    p_holm: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRow:
    """The headline metric of the systems on one slice; `paired` compares the first pair there."""

    group: str
    name: str
    num_queries: int
    systems: Mapping[str, Interval]
    paired: PairedDifference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All tables of one evaluation.

    `values` has the headline metric of each system per query, NaN without a relevant product.
    """

    headline: str
    num_queries: int
    num_without_positive: int
    systems: tuple[SystemRow, ...]
    comparisons: tuple[ComparisonRow, ...]
    slices: tuple[SliceRow, ...]
    values: Mapping[str, Floats]

    def paired(self, system: str, baseline: str) -> PairedDifference:
        """The comparison of one of the requested pairs, on the headline metric."""
        return next(row.paired for row in self.comparisons if (row.system, row.baseline) == (system, baseline))


def evaluate_systems(
    systems: Mapping[str, Sequence[Order]],
    qrels: Sequence[Qrels],
    *,
    pairs: Sequence[tuple[str, str]],
    slices: Sequence[Slice],
    num_products: int,
    config: EvaluationConfig,
    not_in_slices: Sequence[str] = (),
) -> Evaluation:
    """Measure systems against judgments.

    Args:
        systems: each system's orders, one per entry of `qrels`, best first. An order has `config.depth` products or
            more, unless the system returned fewer.
        qrels: the judgments of each query.
        pairs: (system, baseline) to compare; the first pair is also compared in every slice.
        slices: subsets of the queries.
        num_products: size of the catalog, for coverage.
        config: metrics and bootstrap settings.
        not_in_slices: systems that the slices leave out.

    Raises:
        ValueError: a pair names a system that was not measured, or a system does not have one order for each query.
    """
    _check(systems, qrels, pairs)
    metrics_by_system = {name: _measure(orders, qrels, config) for name, orders in systems.items()}
    values = {name: by_metric[config.headline] for name, by_metric in metrics_by_system.items()}
    slice_values = {name: values_Q for name, values_Q in values.items() if name not in not_in_slices}
    return Evaluation(
        headline=config.headline,
        num_queries=len(qrels),
        num_without_positive=sum(not (judged.grades_J > 0).any() for judged in qrels),
        systems=tuple(
            SystemRow(
                name=name,
                metrics=_intervals(by_metric, config),
                coverage=coverage_at_k(systems[name], num_products, config.coverage_k),
            )
            for name, by_metric in metrics_by_system.items()
        ),
        comparisons=tuple(
            ComparisonRow(
                system=a, baseline=b, metric=config.headline, paired=_compare(values[a], values[b], config), p_holm=p
            )
            for (a, b), p in zip(pairs, _p_holm(values, pairs, config), strict=True)
        ),
        slices=tuple(_slice_row(part, slice_values, pairs, config) for part in slices if part.mask_Q.any()),
        values=values,
    )


def mean_of(orders: Sequence[Order], qrels: Sequence[Qrels], metric: str, gain: Gain) -> float:
    """The mean of one metric over the queries with a relevant product; 0 when there is none."""
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
    part: Slice, values: Mapping[str, Floats], pairs: Sequence[tuple[str, str]], config: EvaluationConfig
) -> SliceRow:
    inside = {name: values_Q[part.mask_Q] for name, values_Q in values.items()}
    return SliceRow(
        group=part.group,
        name=part.name,
        num_queries=int(part.mask_Q.sum()),
        systems=_intervals(inside, config),
        paired=_compare(inside[pairs[0][0]], inside[pairs[0][1]], config) if pairs else None,
    )
