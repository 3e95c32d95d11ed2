"""Many contenders on the same judged queries: who is better than the best baseline beyond chance, who is chosen, who survives gaps.

Contenders come as measured values, query by query; what they are and how they were fitted is not this file's matter, how the result
is shown is `arena_report.py`'s. Letters: Q queries, M contenders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from intarsia.config import check_range, setting
from intarsia.evaluation.compare import (
    NUM_RESAMPLES,
    Interval,
    PairedDifference,
    Verdict,
    bootstrap_mean,
    paired_bootstrap,
)
from intarsia.evaluation.significance import NUM_PERMUTATIONS, holm, permutation_p_values
from intarsia.maths.arrays import Floats

Family = Literal["baseline", "score", "feature", "column", "witness"]
"""What a contender is: plain; a fusion of scores; of features, alone; of features, as one more column to scores; or a system that is
measured for what it shows and cannot be chosen (text only, the choice without pictures).
"""

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class ArenaConfig:
    """How surely."""

    alpha: float = setting("corrected p from below which a difference is no chance", 0.05)
    num_resamples: int = setting("bootstrap resamples of the queries", NUM_RESAMPLES)
    num_permutations: int = setting("sign changes drawn for each test", NUM_PERMUTATIONS)
    seed: int = setting("of the resamples and the sign changes", 17)

    def __post_init__(self) -> None:
        check_range(self, "num_resamples", "num_permutations", low=1)
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}; allowed: between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMethod:
    """One contender as it was measured; `error` says why it has no values. Values are NaN where a query has no positive.

    Attributes:
        said: what was fitted, in words; may be empty.
        train_Q: of the train queries, each as a fit orders it that did not see the query: what the choice is made by.
        validation_Q: of queries that no fit learned from, but that stopped fits and weighed columns: they flatter what is fitted.
        fit_s: seconds to fit it; 0 for what is not fitted.
        ms_per_query: median time to fuse one query's candidates.
    """

    name: str
    family: Family
    said: str = ""
    train_Q: Floats | None = None
    validation_Q: Floats | None = None
    test_Q: Floats | None = None
    fit_s: float = 0.0
    ms_per_query: float = math.nan
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """A contender minus a baseline over the same queries.

    Attributes:
        p: two-sided, of the paired permutation test.
        p_holm: the same, corrected for all contenders that were set beside this baseline.
        alpha: from below which p_holm is no chance.
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
class ArenaRow:
    """One contender in the table; `against` holds its contest with each reference, and is empty for baselines, witnesses and failures."""

    entrant: ComparedMethod
    train: float
    validation: float
    test: Interval | None
    against: Mapping[str, Contest] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One contender when a share of all pictures is missing, what stands in for them, and what is left over text only.

    Attributes:
        missing: share of the pictures that were taken away.
        imputer: what filled the gaps.
        minus_text_only: the paired difference to the system that never reads a picture.
    """

    method: str
    imputer: str
    missing: float
    value: Interval
    minus_text_only: PairedDifference


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """All that came out.

    Attributes:
        metric: of every value.
        rows: every contender, best on train (see `Entrant.train_Q`) first, failures last.
        references: the baselines that others are set beside: BM25, the best single retriever, RRF, equal weights.
        best_baseline: the best of these on validation.
        chosen: the contender with the best train mean; of equals the first given.
        curve: by missing pictures; empty where it was not asked for.
        imputer: what the choice goes with, by its curve on validation.
        no_curve: why curves that were asked for are not there; empty where all are.
        text_only: the witness that curves are set beside, the better one on train of those that read no picture.
        image_share: the choice minus the same kind fitted and asked without pictures; None where that was not measured.
    """

    metric: str
    num_queries: int
    rows: tuple[ArenaRow, ...]
    references: tuple[str, ...]
    best_baseline: str
    chosen: str
    curve: tuple[CurvePoint, ...] = ()
    imputer: str = ""
    no_curve: str = ""
    text_only: str = ""
    image_share: PairedDifference | None = None

    @property
    def below_text_only(self) -> tuple[CurvePoint, ...]:
        """Where the chosen one, with its imputer, is worse than text only beyond the interval: it may not serve if there is any."""
        mine = [one for one in self.curve if (one.method, one.imputer) == (self.chosen, self.imputer)]
        return tuple(one for one in mine if one.minus_text_only.verdict == "worse")

    def row(self, name: str) -> ArenaRow:
        """The row of a contender."""
        return next(row for row in self.rows if row.entrant.name == name)


def judge(entrants: Sequence[ComparedMethod], *, metric: str, references: Sequence[str], config: ArenaConfig) -> Arena:
    """Choose by train queries that a fit did not see, test once.

    Args:
        entrants: all contenders, the simplest first: of equal ones the first is chosen.
        metric: what their values are.
        references: names of the baselines to be compared with; one that is named twice counts once.
        config: how surely.

    Raises:
        ValueError: a reference is not among the contenders, or was not measured.
    """
    measured = [one for one in entrants if one.test_Q is not None]
    by_name = {one.name: one for one in measured}
    unknown = [name for name in references if name not in by_name]
    if unknown or not references:
        raise ValueError(f"reference {unknown or 'none'} was not measured; measured: {', '.join(by_name)}")
    names = tuple(dict.fromkeys(references))
    able = [one for one in measured if one.family != "witness"]
    best_baseline = max(names, key=lambda name: _mean(by_name[name].validation_Q))
    chosen = _first_best(able)
    rivals = [one for one in measured if one.family not in ("baseline", "witness")]
    contests = {name: _contests(rivals, by_name[name], config) for name in names}
    rows = [
        _row(one, {name: contests[name][one.name] for name in names if one.name in contests[name]}, config)
        for one in entrants
    ]
    rows.sort(key=lambda row: -np.inf if math.isnan(row.train) else row.train, reverse=True)
    return Arena(
        metric=metric,
        num_queries=rows[0].test.num_queries if rows[0].test else 0,
        rows=tuple(rows),
        references=names,
        best_baseline=best_baseline,
        chosen=chosen.name,
    )


def curve_point(
    method: str, imputer: str, missing: float, values_Q: Floats, text_only_Q: Floats, config: ArenaConfig
) -> CurvePoint:
    """One point of a curve from the values of both systems on the same queries."""
    return CurvePoint(
        method=method,
        imputer=imputer,
        missing=missing,
        value=bootstrap_mean(values_Q, seed=config.seed, num_resamples=config.num_resamples),
        minus_text_only=paired_bootstrap(values_Q, text_only_Q, seed=config.seed, num_resamples=config.num_resamples),
    )


def _first_best(entrants: Sequence[ComparedMethod]) -> ComparedMethod:
    means = [_mean(one.train_Q) for one in entrants]
    return next(one for one, mean in zip(entrants, means, strict=True) if mean >= max(means) - _ROUNDING)


def _contests(rivals: Sequence[ComparedMethod], baseline: ComparedMethod, config: ArenaConfig) -> dict[str, Contest]:
    if not rivals:
        return {}
    assert baseline.test_Q is not None
    differences_QM = np.stack([one.test_Q - baseline.test_Q for one in rivals if one.test_Q is not None], axis=1)
    p_M = permutation_p_values(differences_QM, seed=config.seed, num_permutations=config.num_permutations)
    return {
        one.name: Contest(
            paired=PairedDifference(
                difference=bootstrap_mean(differences_Q, seed=config.seed, num_resamples=config.num_resamples)
            ),
            p=float(p),
            p_holm=float(p_holm),
            alpha=config.alpha,
        )
        for one, differences_Q, p, p_holm in zip(rivals, differences_QM.T, p_M, holm(p_M), strict=True)
    }


def _row(one: ComparedMethod, against: Mapping[str, Contest], config: ArenaConfig) -> ArenaRow:
    test = (
        None if one.test_Q is None else bootstrap_mean(one.test_Q, seed=config.seed, num_resamples=config.num_resamples)
    )
    train, validation = _mean(one.train_Q), _mean(one.validation_Q)
    return ArenaRow(entrant=one, train=train, validation=validation, test=test, against=against)


def _mean(values_Q: Floats | None) -> float:
    """Over the queries with a positive; NaN without any."""
    return math.nan if values_Q is None or np.isnan(values_Q).all() else float(np.nanmean(values_Q))
