"""Compare fusion methods on the same judged queries: choose one on train, and test all once.

This module reads per-query values only. `experiments/fusion_benchmark.py` fits and measures the methods,
`method_comparison_report.py` writes the report. Letters: Q queries, M methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from intarsia.config import check_range, setting
from intarsia.evaluation.significance import (
    NUM_PERMUTATIONS,
    NUM_RESAMPLES,
    Interval,
    PairedDifference,
    Verdict,
    bootstrap_mean,
    holm,
    paired_bootstrap,
    permutation_p_values,
)
from intarsia.maths.arrays import Floats

Family = Literal["baseline", "score", "feature", "column", "reference"]
"""Family of a method: one retriever or an unfitted fusion (baseline); a fusion of scores (score); of vectors, by its
own score only (feature); of vectors, as one more score column (column); or a system that is measured and cannot be
chosen (reference: text only, or the chosen method without images).
"""

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonConfig:
    """Bootstrap and permutation-test settings."""

    alpha: float = setting("significance level of the corrected p values", 0.05, advanced=True)
    num_resamples: int = setting("bootstrap resamples of the queries", NUM_RESAMPLES, advanced=True)
    num_permutations: int = setting("sign vectors drawn for each permutation test", NUM_PERMUTATIONS, advanced=True)
    seed: int = setting("seed of the resamples and the sign vectors", 17, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "num_resamples", "num_permutations", low=1)
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}; allowed: between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMethod:
    """The measured values of one method, NaN where a query has no relevant product; `error` says why there are none.

    Attributes:
        description: the fitted weights or settings; may be empty.
        train_Q: train queries, each fused by a fit without the query's fold. The choice is made by these.
        validation_Q: validation queries. They stop fits and weigh columns, so the values of fitted methods are
            optimistic.
        fit_s: seconds to fit; 0 for a method without fitted parts.
        ms_per_query: median time to fuse the candidates of one query.
    """

    name: str
    family: Family
    description: str = ""
    train_Q: Floats | None = None
    validation_Q: Floats | None = None
    test_Q: Floats | None = None
    fit_s: float = 0.0
    ms_per_query: float = math.nan
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineComparison:
    """A method minus a baseline over the same test queries.

    Attributes:
        p: two-sided p value of the paired permutation test.
        p_holm: the same, corrected for all methods that are compared with this baseline.
        alpha: significance level.
    """

    paired: PairedDifference
    p: float
    p_holm: float
    alpha: float

    @property
    def verdict(self) -> Verdict:
        """Better or worse only when the corrected p is below alpha."""
        if not self.p_holm < self.alpha:
            return "no difference"
        return "better" if self.paired.difference.mean > 0 else "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """One method in the table.

    `against` has its comparison with each baseline; it is empty for baselines, references and failures.
    """

    method: ComparedMethod
    train: float
    validation: float
    test: Interval | None
    against: Mapping[str, BaselineComparison] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingImagesPoint:
    """One method at one share of missing images.

    Attributes:
        imputer: what replaced the missing image vectors; empty for the text-only system.
        missing: share of the images that were removed.
        value: the metric on the test queries.
        minus_text_only: paired difference to the text-only system.
    """

    method: str
    imputer: str
    missing: float
    value: Interval
    minus_text_only: PairedDifference


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodComparison:
    """The result of a comparison.

    Attributes:
        metric: the metric of all values.
        rows: every method, the best on train first, failures last.
        baselines: names of the baselines that the methods are compared with: BM25, the best single retriever, RRF,
            equal weights.
        best_baseline: the best of these on validation.
        chosen: the method with the best train mean; the first of equals.
        curve: points by missing images; may be empty.
        imputer: the best imputer for the chosen method, by its curve on validation.
        no_curve: why requested curves are missing; empty if none is.
        text_only: the system that curves are compared with: the better on train of the two references.
        image_gain: the chosen method minus the same method fitted and run without images; None if it was not measured.
    """

    metric: str
    num_queries: int
    rows: tuple[MethodRow, ...]
    baselines: tuple[str, ...]
    best_baseline: str
    chosen: str
    curve: tuple[MissingImagesPoint, ...] = ()
    imputer: str = ""
    no_curve: str = ""
    text_only: str = ""
    image_gain: PairedDifference | None = None

    @property
    def below_text_only(self) -> tuple[MissingImagesPoint, ...]:
        """The points where the chosen method, with its imputer, is worse than text only beyond the interval."""
        curve = [point for point in self.curve if (point.method, point.imputer) == (self.chosen, self.imputer)]
        return tuple(point for point in curve if point.minus_text_only.verdict == "worse")

    def row(self, name: str) -> MethodRow:
        """The row of a method."""
        return next(row for row in self.rows if row.method.name == name)


def compare_methods(
    methods: Sequence[ComparedMethod], *, metric: str, baselines: Sequence[str], config: ComparisonConfig
) -> MethodComparison:
    """Choose a method by its out-of-fold train values, and compare all methods with the baselines on test.

    Args:
        methods: all methods, the simplest first: of equal ones the first is chosen.
        metric: the metric of their values.
        baselines: names of the baselines to compare with; duplicates count once.
        config: bootstrap and test settings.

    Raises:
        ValueError: a baseline is not among the methods, or was not measured.
    """
    measured = [method for method in methods if method.test_Q is not None]
    by_name = {method.name: method for method in measured}
    unknown = [name for name in baselines if name not in by_name]
    if unknown or not baselines:
        raise ValueError(f"baseline {unknown or 'none'} was not measured; measured: {', '.join(by_name)}")
    names = tuple(dict.fromkeys(baselines))
    best_baseline = max(names, key=lambda name: _mean(by_name[name].validation_Q))
    chosen = _first_best([method for method in measured if method.family != "reference"])
    compared = [method for method in measured if method.family not in ("baseline", "reference")]
    comparisons = {name: _compare_with(by_name[name], compared, config) for name in names}
    rows = [
        _row(
            method, {name: comparisons[name][method.name] for name in names if method.name in comparisons[name]}, config
        )
        for method in methods
    ]
    rows.sort(key=lambda row: -np.inf if math.isnan(row.train) else row.train, reverse=True)
    return MethodComparison(
        metric=metric,
        num_queries=rows[0].test.num_queries if rows[0].test else 0,
        rows=tuple(rows),
        baselines=names,
        best_baseline=best_baseline,
        chosen=chosen.name,
    )


def missing_images_point(
    method: str, imputer: str, missing: float, values_Q: Floats, text_only_Q: Floats, config: ComparisonConfig
) -> MissingImagesPoint:
    """One point of a curve from the values of both systems on the same queries."""
    return MissingImagesPoint(
        method=method,
        imputer=imputer,
        missing=missing,
        value=bootstrap_mean(values_Q, seed=config.seed, num_resamples=config.num_resamples),
        minus_text_only=paired_bootstrap(values_Q, text_only_Q, seed=config.seed, num_resamples=config.num_resamples),
    )


def _first_best(methods: Sequence[ComparedMethod]) -> ComparedMethod:
    means = [_mean(method.train_Q) for method in methods]
    return next(method for method, mean in zip(methods, means, strict=True) if mean >= max(means) - _ROUNDING)


def _compare_with(
    baseline: ComparedMethod, methods: Sequence[ComparedMethod], config: ComparisonConfig
) -> dict[str, BaselineComparison]:
    if not methods:
        return {}
    assert baseline.test_Q is not None
    differences_QM = np.stack(
        [method.test_Q - baseline.test_Q for method in methods if method.test_Q is not None], axis=1
    )
    p_M = permutation_p_values(differences_QM, seed=config.seed, num_permutations=config.num_permutations)
    return {
        method.name: BaselineComparison(
            paired=PairedDifference(
                difference=bootstrap_mean(differences_Q, seed=config.seed, num_resamples=config.num_resamples)
            ),
            p=float(p),
            p_holm=float(p_holm),
            alpha=config.alpha,
        )
        for method, differences_Q, p, p_holm in zip(methods, differences_QM.T, p_M, holm(p_M), strict=True)
    }


def _row(method: ComparedMethod, against: Mapping[str, BaselineComparison], config: ComparisonConfig) -> MethodRow:
    test = None
    if method.test_Q is not None:
        test = bootstrap_mean(method.test_Q, seed=config.seed, num_resamples=config.num_resamples)
    train, validation = _mean(method.train_Q), _mean(method.validation_Q)
    return MethodRow(method=method, train=train, validation=validation, test=test, against=against)


def _mean(values_Q: Floats | None) -> float:
    """The mean over the queries with a relevant product; NaN without any."""
    return math.nan if values_Q is None or np.isnan(values_Q).all() else float(np.nanmean(values_Q))
