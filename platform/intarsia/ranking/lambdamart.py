"""LambdaMART by LightGBM and, beside it, trees that learn the grades themselves: settings, and a fit, alone or as one rank of several.

With few judged queries the order of pairs and the guess of a product's gain err differently, and their sum errs less than either.
Source: Sculley, "Combined Regression and Ranking", KDD 2010, doi:10.1145/1835804.1835928: one model of both losses; here one of each.

Who starts the ranks is `onray/training.py`'s matter. Letter: n rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np

from intarsia.config import setting
from intarsia.errors import DataError
from intarsia.ids import sha256_bytes
from intarsia.ranking.boosting_fit import Part, begin_at, dataset, early_stopped
from intarsia.ranking.fit_metrics import METRIC_AT, slope_within, spread_within, weighted_mean_ndcg
from intarsia.ranking.init_score import Start
from intarsia.ranking.linear import LinearModel, fit_linear
from intarsia.ranking.model_sum import summed
from intarsia.ranking.network import Links
from intarsia.ranking.rows import RankingRows


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaMartConfig:
    """How the ranker is fitted. The defaults are for a few hundred judged queries: small trees, much shrinkage."""

    num_rounds: int = setting("most trees that are tried", 400)
    early_stopping_rounds: int = setting(
        "stop when validation (nDCG@10, of the gains' trees squared error) is no better after so many trees; 0 never stops",
        60,
    )
    learning_rate: float = setting("shrinkage of each tree", 0.05)
    num_leaves: int = setting("leaves of a tree", 15)
    min_data_in_leaf: int = setting("rows a leaf needs", 30)
    min_sum_hessian_in_leaf: float = setting("sum of second derivatives a leaf needs", 1e-3)
    lambda_l2: float = setting("L2 penalty on leaf values", 10.0)
    feature_fraction: float = setting("share of the features each tree sees", 0.5)
    bagging_fraction: float = setting("share of the queries each tree sees; 1 turns it off", 0.8)
    max_bin: int = setting("bins of a feature", 127)
    truncation_level: int = setting("pairs count when their better row is above this place", 20)
    label_gain: tuple[float, ...] = setting("gain of grade 0, 1, …", (0.0, 1.0, 3.0, 7.0))
    prior_weight: float = setting(
        "what a row scores before the first tree that orders pairs, per standard deviation of its fused score; 0 starts from nothing. The "
        "trees of the gains begin at a slope of their own",
        0.25,
    )
    linear_weight: float = setting(
        "part of what a row scores before the first tree that a linear ranker of all features gives, the fused score the rest; 0 fits none",
        0.0,
    )
    linear_l2: float = setting("L2 penalty of the linear ranker; does nothing without linear_weight", 10.0)
    pointwise_share: float = setting(
        "part of the score, by its spread within queries, that trees give which learn the gain of a grade by least squares; 0 fits none",
        0.5,
    )
    pointwise_rounds: int = setting(
        "most of these trees; at 100 they add some 0.4 ms to a query of 200 candidates", 100
    )
    pointwise_learning_rate: float = setting("shrinkage of each of these trees", 0.1)
    seed: int = setting("of every random choice of the fit", 20_260)

    def __post_init__(self) -> None:
        for name in ("num_rounds", "pointwise_rounds", "min_data_in_leaf", "truncation_level"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.num_leaves < 2 or self.max_bin < 2:
            raise ValueError(f"num_leaves is {self.num_leaves} and max_bin {self.max_bin}; allowed: 2 or more")
        for name in ("learning_rate", "pointwise_learning_rate", "feature_fraction", "bagging_fraction"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: above 0, at most 1")
        for name in ("early_stopping_rounds", "lambda_l2", "min_sum_hessian_in_leaf", "prior_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 or more")
        if not 0 <= self.linear_weight <= 1:
            raise ValueError(f"linear_weight is {self.linear_weight}; allowed: 0 to 1")
        if not self.linear_l2 > 0:
            raise ValueError(f"linear_l2 is {self.linear_l2}; allowed: above 0")
        if not 0 <= self.pointwise_share < 1:
            raise ValueError(f"pointwise_share is {self.pointwise_share}; allowed: 0 or more, below 1")
        if len(self.label_gain) < 2 or any(b <= a for a, b in zip(self.label_gain, self.label_gain[1:], strict=False)):
            raise ValueError(f"label_gain is {self.label_gain}; allowed: two or more, rising")

    def parameters(self) -> dict[str, Any]:
        """LightGBM's own names, with what makes equal inputs give equal trees."""
        return {
            "objective": "lambdarank",
            "metric": "ndcg",
            "eval_at": [METRIC_AT],
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
            "min_sum_hessian_in_leaf": self.min_sum_hessian_in_leaf,
            "lambda_l2": self.lambda_l2,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1 if self.bagging_fraction < 1 else 0,
            "bagging_by_query": self.bagging_fraction < 1,
            "max_bin": self.max_bin,
            "lambdarank_truncation_level": self.truncation_level,
            "label_gain": list(self.label_gain),
            "seed": self.seed,
            "deterministic": True,
            "force_col_wise": True,
            "feature_pre_filter": False,
            "num_threads": 1,
            "verbosity": -1,
        }

    def pointwise_parameters(self) -> dict[str, Any]:
        """Of the trees that learn the gains: as the others, but fewer, for another loss, and bagging rows."""
        return {
            **self.parameters(),
            "objective": "regression",
            "metric": "l2",
            "learning_rate": self.pointwise_learning_rate,
            "bagging_by_query": False,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted model.

    Attributes:
        model_text: LightGBM's, the trees of both parts up to the best of each. What rows score before the first tree (`prior.py`)
            is the ranker's to add.
        trees_sha256: digest of its trees.
        prior_weight: what the fused score weighs there: the config's, and what the trees that learned the gains began at.
        linear: what a linear ranker adds there, likewise of both; None without one.
        best_iteration: trees that order pairs.
        curve: validation nDCG@10 after each of them that was tried.
        pointwise_trees: trees that learned the gains.
        validation_ndcg: nDCG@10 on validation of the whole, over the rows that were retrieved.
    """

    model_text: str
    trees_sha256: str
    prior_weight: float
    linear: LinearModel | None
    best_iteration: int
    curve: tuple[float, ...]
    pointwise_trees: int
    validation_ndcg: float


def fit_lambdamart(
    train: RankingRows,
    validation: RankingRows,
    configs: Sequence[LambdaMartConfig],
    network: Mapping[str, Any] | None = None,
    starts: Sequence[Start] | None = None,
) -> list[Fit]:
    """Fit one model per config.

    Args:
        train: rows of this rank.
        validation: the *same* rows on every rank, so that all of them stop at the same tree; a rank that stopped alone would leave the
            others waiting.
        configs: settings of each fit, equal on every rank.
        network: LightGBM's network parameters of this rank (machines, num_machines, local_listen_port); nothing fits alone.
        starts: per config what `start_of` makes of the train rows of *all* ranks; nothing makes it of these.

    Raises:
        DataError: a grade without a gain, or nothing to learn from.
    """
    links = Links(network)
    fits: list[Fit] = []
    for number, config in enumerate(configs):
        for name, rows in (("train", train), ("validation", validation)):
            _check(name, rows, config)
        start = start_of(train, config) if starts is None else starts[number]
        fits.append(_fit(train, validation, config, start, links))
    links.close()
    return fits


def start_of(train: RankingRows, config: LambdaMartConfig) -> Start:
    """Where the trees that order pairs begin; ranks that made it of their own shards would each begin elsewhere.

    Raises:
        DataError: a grade without a gain, or nothing to learn from.
    """
    if not config.linear_weight:
        return Start(prior_weight=config.prior_weight)
    _check("train", train, config)
    linear = fit_linear(train, config.label_gain, config.linear_l2).times(config.linear_weight)
    return Start(prior_weight=(1 - config.linear_weight) * config.prior_weight, linear=linear)


def _fit(train: RankingRows, validation: RankingRows, config: LambdaMartConfig, start: Start, links: Links) -> Fit:
    pairs = _fit_pairs(train, validation, config, start, links)
    points = _fit_points(train, validation, config, start, links) if config.pointwise_share else None
    whole = _blended(pairs, points, config.pointwise_share, validation) if points else pairs
    return Fit(
        model_text=whole.text,
        trees_sha256=sha256_bytes(whole.text.partition("\nparameters:")[0].encode()),
        prior_weight=whole.start.prior_weight,
        linear=whole.start.linear,
        best_iteration=pairs.num_trees,
        curve=pairs.curve,
        pointwise_trees=points.num_trees if points else 0,
        validation_ndcg=weighted_mean_ndcg(whole.scores(validation), validation, config.label_gain),
    )


def _blended(pairs: Part, points: Part, share: float, validation: RankingRows) -> Part:
    """Both as one, each by its share of the spread on validation; a part without a spread orders nothing at any weight."""
    spreads = [spread_within(part.scores(validation), validation) for part in (pairs, points)]
    weight = _same_anywhere(share / (1 - share) * (spreads[0] / spreads[1] if all(spreads) else 1.0))
    return Part(
        text=summed(pairs.text, points.text, weight),
        start=pairs.start.plus(points.start.times(weight)),
        curve=pairs.curve,
    )


def _fit_pairs(
    train: RankingRows, validation: RankingRows, config: LambdaMartConfig, start: Start, links: Links
) -> Part:
    """The trees that order pairs, up to the best validation nDCG."""
    sets: list[lightgbm.Dataset] = []
    for rows in (train, validation):
        sets.append(dataset(rows, rows.labels_n, begin_at(rows, start), *sets))
    return early_stopped(config.parameters(), sets, start, config.num_rounds, config.early_stopping_rounds, links)


def _fit_points(
    train: RankingRows, validation: RankingRows, config: LambdaMartConfig, start: Start, links: Links
) -> Part:
    """The trees that learn the gains, up to the least squared error on validation.

    They begin at the mean gain and the slope that the fused score has within queries, or where a linear ranker is, the slope of what the
    others begin at; validation tells both, as every rank holds all of it.
    """
    gains = np.array(config.label_gain)
    unit = start if start.linear is not None else Start(prior_weight=1.0)
    slope = _same_anywhere(slope_within(begin_at(validation, unit), gains[validation.labels_n], validation))
    mean = _same_anywhere(float(gains[validation.labels_n].mean()))
    begin = unit.times(slope)
    sets: list[lightgbm.Dataset] = []
    for rows in (train, validation):
        sets.append(dataset(rows, gains[rows.labels_n], mean + begin_at(rows, begin), *sets))
    return early_stopped(
        config.pointwise_parameters(), sets, begin, config.pointwise_rounds, config.early_stopping_rounds, links
    )


def _same_anywhere(value: float) -> float:
    """Six digits of it: ranks on machines that sum in another order must come to equal trees."""
    return float(f"{value:.6g}")


def _check(name: str, rows: RankingRows, config: LambdaMartConfig) -> None:
    if not rows.num_queries:
        raise DataError(
            table="training_rows",
            field="label",
            found=f"no {name} query with two different labels",
            allowed="one or more",
            fix=f"judge more {name} queries, or look why no candidate of theirs is a judged one",
        )
    if (highest := int(rows.labels_n.max())) >= len(config.label_gain):
        raise DataError(
            table="training_rows",
            field="label",
            found=highest,
            allowed=f"0..{len(config.label_gain) - 1}",
            fix="give label_gain one gain per grade",
        )
