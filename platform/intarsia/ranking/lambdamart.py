"""Fits the ranker: LambdaMART trees (pairwise) and trees that regress the gain of the grade (pointwise), by LightGBM.

With few judged queries the two losses err differently, and the sum of both models errs less than either.
Source: Sculley, "Combined Regression and Ranking", KDD 2010, doi:10.1145/1835804.1835928: one model of both losses;
here one of each.

A fit runs in one process, or as one rank of several; `onray/ranker_training.py` starts the ranks. Letter: n rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from intarsia.config import setting
from intarsia.errors import DataError
from intarsia.maths.arrays import Floats
from intarsia.ranking.lightgbm_ranker import RankerModel, WeightedTrees
from intarsia.ranking.linear import InitScore, LinearModel, fit_linear
from intarsia.ranking.rows import METRIC_AT, RankingRows, slope_within, spread_within, weighted_mean_ndcg


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaMartConfig:
    """Settings of a fit. The defaults suit a few hundred judged queries: small trees, strong shrinkage."""

    num_rounds: int = setting("maximum number of pairwise trees", 400)
    early_stopping_rounds: int = setting(
        "stop when the validation metric (nDCG@10; pointwise: squared error) has not improved for this many trees; "
        "0 never stops",
        60,
        advanced=True,
    )
    learning_rate: float = setting("shrinkage of each pairwise tree", 0.05)
    num_leaves: int = setting("maximum number of leaves of a tree", 15)
    min_data_in_leaf: int = setting("minimum number of rows in a leaf", 30, advanced=True)
    min_sum_hessian_in_leaf: float = setting("minimum sum of second derivatives in a leaf", 1e-3, advanced=True)
    lambda_l2: float = setting("L2 penalty on leaf values", 10.0, advanced=True)
    feature_fraction: float = setting("share of the features available to each tree", 0.5, advanced=True)
    bagging_fraction: float = setting("share of the queries each tree sees; 1 turns bagging off", 0.8, advanced=True)
    max_bin: int = setting("maximum number of bins of a feature", 127, advanced=True)
    truncation_level: int = setting(
        "a pair counts when its better row is ranked above this position", 20, advanced=True
    )
    label_gain: tuple[float, ...] = setting("gain of grade 0, 1, …", (0.0, 1.0, 3.0, 7.0))
    prior_weight: float = setting(
        "init score of the pairwise trees, per standard deviation of the fused score; pointwise trees fit their own",
        0.25,
    )
    linear_weight: float = setting(
        "share of a linear model of all features in the init score, instead of the fused score; 0 fits none",
        0.0,
    )
    linear_l2: float = setting("L2 penalty of the linear model; unused if linear_weight is 0", 10.0, advanced=True)
    pointwise_share: float = setting(
        "share of the pointwise trees (least squares on the gain) in the score's spread within queries; 0 fits none",
        0.5,
    )
    pointwise_rounds: int = setting(
        "maximum number of pointwise trees; 100 add about 0.4 ms to a query of 200 candidates", 100
    )
    pointwise_learning_rate: float = setting("shrinkage of each pointwise tree", 0.1)
    seed: int = setting("seed of every random choice of the fit", 20_260, advanced=True)

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

    def pairwise_parameters(self) -> dict[str, Any]:
        """LightGBM parameters of the pairwise trees, including those that make fits reproducible."""
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
        """LightGBM parameters of the pointwise trees: squared error, and bagging by row instead of by query."""
        return {
            **self.pairwise_parameters(),
            "objective": "regression",
            "metric": "l2",
            "learning_rate": self.pointwise_learning_rate,
            "bagging_by_query": False,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerFit:
    """A fitted model and the figures of its fit.

    Attributes:
        model: the pairwise trees, then the pointwise trees if any, each up to its best validation metric.
        best_iteration: number of pairwise trees.
        curve: validation nDCG@10 after each pairwise tree that was tried.
        pointwise_trees: number of pointwise trees.
        validation_ndcg: validation nDCG@10 of the model, over the rows that were retrieved.
    """

    model: RankerModel
    best_iteration: int
    curve: tuple[float, ...]
    pointwise_trees: int
    validation_ndcg: float

    def to_jsonable(self) -> dict[str, Any]:
        """Plain values for JSON; `from_jsonable` restores an equal fit."""
        linear = self.model.init_score.linear
        return {
            "trees": [[part.text, part.weight] for part in self.model.trees],
            "prior_weight": self.model.init_score.prior_weight,
            "linear": None if linear is None else linear.to_jsonable(),
            "best_iteration": self.best_iteration,
            "curve": list(self.curve),
            "pointwise_trees": self.pointwise_trees,
            "validation_ndcg": self.validation_ndcg,
        }

    @classmethod
    def from_jsonable(cls, values: Mapping[str, Any]) -> RankerFit:
        """The inverse of `to_jsonable`."""
        linear = None if values["linear"] is None else LinearModel.from_jsonable(values["linear"])
        return cls(
            model=RankerModel(
                trees=tuple(WeightedTrees(text=text, weight=weight) for text, weight in values["trees"]),
                init_score=InitScore(prior_weight=values["prior_weight"], linear=linear),
            ),
            best_iteration=values["best_iteration"],
            curve=tuple(values["curve"]),
            pointwise_trees=values["pointwise_trees"],
            validation_ndcg=values["validation_ndcg"],
        )


def fit_lambdamart(
    train: RankingRows,
    validation: RankingRows,
    configs: Sequence[LambdaMartConfig],
    network: Mapping[str, Any] | None = None,
    init_scores: Sequence[InitScore] | None = None,
) -> list[RankerFit]:
    """Fit one model per config.

    Args:
        train: rows of this rank.
        validation: the *same* rows on every rank, so that all ranks stop at the same tree; a rank that stopped earlier
            would block the others.
        configs: settings of each fit, equal on every rank.
        network: LightGBM's network parameters of this rank (machines, num_machines, local_listen_port); default: a
            single process.
        init_scores: for each config the result of `fit_init_score` on the train rows of *all* ranks; default: fitted on
            `train`.

    Raises:
        DataError: a grade without a gain, or no query with two different labels.
    """
    connection = _Network(network)
    fits: list[RankerFit] = []
    for number, config in enumerate(configs):
        for name, rows in (("train", train), ("validation", validation)):
            _check(name, rows, config)
        init_score = fit_init_score(train, config) if init_scores is None else init_scores[number]
        fits.append(_fit(train, validation, config, init_score, connection))
    connection.close()
    return fits


def fit_init_score(train: RankingRows, config: LambdaMartConfig) -> InitScore:
    """The init score of the pairwise trees; all ranks of one fit must use the same.

    Raises:
        DataError: a grade without a gain, or no query with two different labels.
    """
    if not config.linear_weight:
        return InitScore(prior_weight=config.prior_weight)
    _check("train", train, config)
    linear = fit_linear(train, config.label_gain, config.linear_l2).times(config.linear_weight)
    return InitScore(prior_weight=(1 - config.linear_weight) * config.prior_weight, linear=linear)


def _fit(
    train: RankingRows, validation: RankingRows, config: LambdaMartConfig, init_score: InitScore, connection: _Network
) -> RankerFit:
    pairwise, curve = _fit_pairwise(train, validation, config, init_score, connection)
    model, pointwise_trees = pairwise, 0
    if config.pointwise_share:
        pointwise = _fit_pointwise(train, validation, config, init_score, connection)
        weight = _pointwise_weight(pairwise, pointwise, config.pointwise_share, validation)
        model, pointwise_trees = pairwise.plus(pointwise, weight), pointwise.num_trees
    return RankerFit(
        model=model,
        best_iteration=pairwise.num_trees,
        curve=curve,
        pointwise_trees=pointwise_trees,
        validation_ndcg=weighted_mean_ndcg(_scores(model, validation), validation, config.label_gain),
    )


def _fit_pairwise(
    train: RankingRows, validation: RankingRows, config: LambdaMartConfig, init_score: InitScore, connection: _Network
) -> tuple[RankerModel, tuple[float, ...]]:
    """The trees that order pairs, up to the best validation nDCG, and the validation nDCG after each tree."""
    datasets: list[lightgbm.Dataset] = []
    for rows in (train, validation):
        datasets.append(_dataset(rows, rows.labels_n, _init_scores(init_score, rows), *datasets))
    text, curve = _fit_trees(
        config.pairwise_parameters(), datasets, config.num_rounds, config.early_stopping_rounds, connection
    )
    return RankerModel(trees=(WeightedTrees(text=text),), init_score=init_score), curve


def _fit_pointwise(
    train: RankingRows, validation: RankingRows, config: LambdaMartConfig, init_score: InitScore, connection: _Network
) -> RankerModel:
    """The trees that regress the gain, up to the least squared error on validation.

    Their init score is the mean gain plus a multiple of the fused score, or of the pairwise init score if that has a
    linear model. The factor is the least-squares slope within queries. Mean and slope come from the validation rows,
    because every rank has all of them.
    """
    gains = np.array(config.label_gain)
    unscaled = init_score if init_score.linear is not None else InitScore(prior_weight=1.0)
    slope = _rounded(slope_within(_init_scores(unscaled, validation), gains[validation.labels_n], validation))
    mean = _rounded(float(gains[validation.labels_n].mean()))
    scaled = unscaled.times(slope)
    datasets: list[lightgbm.Dataset] = []
    for rows in (train, validation):
        datasets.append(_dataset(rows, gains[rows.labels_n], mean + _init_scores(scaled, rows), *datasets))
    text, _ = _fit_trees(
        config.pointwise_parameters(), datasets, config.pointwise_rounds, config.early_stopping_rounds, connection
    )
    return RankerModel(trees=(WeightedTrees(text=text),), init_score=scaled)


def _pointwise_weight(pairwise: RankerModel, pointwise: RankerModel, share: float, validation: RankingRows) -> float:
    """The weight that gives the pointwise model `share` of the spread on validation.

    If one of the models has no spread, the weight is share / (1 - share).
    """
    pairwise_spread, pointwise_spread = (
        spread_within(_scores(model, validation), validation) for model in (pairwise, pointwise)
    )
    ratio = pairwise_spread / pointwise_spread if pairwise_spread and pointwise_spread else 1.0
    return _rounded(share / (1 - share) * ratio)


def _fit_trees(
    parameters: Mapping[str, Any],
    datasets: Sequence[lightgbm.Dataset],
    num_rounds: int,
    early_stopping_rounds: int,
    connection: _Network,
) -> tuple[str, tuple[float, ...]]:
    """Fit trees to the first data set, up to the best metric on the second.

    Returns:
        The trees in text form, and the metric after each tree that was tried.
    """
    metrics: dict[str, dict[str, list[float]]] = {}
    callbacks = [lightgbm.record_evaluation(metrics)]
    if early_stopping_rounds:
        callbacks.append(lightgbm.early_stopping(early_stopping_rounds, verbose=False))
    train_set, validation_set = datasets
    booster = connection.train(
        parameters,
        train_set,
        num_boost_round=num_rounds,
        valid_sets=[validation_set],
        valid_names=["validation"],
        callbacks=callbacks,
    )
    (curve,) = metrics["validation"].values()
    best_iteration = booster.best_iteration if early_stopping_rounds else len(curve)
    text = booster.model_to_string(num_iteration=best_iteration)
    # the section of parameters names machines and ports: without it, the text is equal on every rank and in every run
    return text.partition("\nparameters:")[0], tuple(curve)


def _dataset(
    rows: RankingRows, targets_n: NDArray[Any], init_scores_n: Floats, reference: lightgbm.Dataset | None = None
) -> lightgbm.Dataset:
    """Rows as a LightGBM data set, with the bins of the reference."""
    return lightgbm.Dataset(
        rows.values_nF,
        label=targets_n,
        group=np.diff(rows.offsets_G),
        weight=None if np.all(rows.weights_n == 1) else rows.weights_n,
        init_score=init_scores_n,
        feature_name=list(rows.feature_names),
        reference=reference,
        free_raw_data=True,
    )


class _Network:
    """LightGBM's network between the ranks: opened by the first fit and kept for all fits.

    Closing it and binding the same port again fails while old connections linger.
    """

    def __init__(self, parameters: Mapping[str, Any] | None) -> None:
        self._parameters = parameters
        self._opener: lightgbm.Booster | None = None

    def train(self, parameters: Mapping[str, Any], *args: Any, **options: Any) -> lightgbm.Booster:
        """`lightgbm.train`, connected to the other ranks if there are any."""
        booster = lightgbm.train({**parameters, **self._network_parameters()}, *args, **options)
        self._opener = self._opener or booster
        return booster

    def close(self) -> None:
        """Close the network; no fit may follow."""
        if self._parameters and self._opener:
            self._opener.free_network()

    def _network_parameters(self) -> dict[str, Any]:
        if not self._parameters:
            return {}
        return {
            # without these two, every rank would silently fit a model of its own shard
            "tree_learner": "data_parallel",
            "pre_partition": True,
            "num_machines": self._parameters["num_machines"],
            **({} if self._opener else self._parameters),
        }


def _init_scores(init_score: InitScore, rows: RankingRows) -> Floats:
    return init_score.scores(rows.values_nF, rows.feature_names)


def _scores(model: RankerModel, rows: RankingRows) -> Floats:
    return model.scores(rows.values_nF, rows.feature_names)


def _rounded(value: float) -> float:
    """Six significant digits: ranks that sum in another order must still get the same value."""
    return float(f"{value:.6g}")


def _check(name: str, rows: RankingRows, config: LambdaMartConfig) -> None:
    if not rows.num_queries:
        raise DataError(
            table="training_rows",
            field="label",
            found=f"no {name} query with two different labels",
            allowed="one or more",
            fix=f"judge more {name} queries, or check why none of their candidates is a judged product",
        )
    if (highest := int(rows.labels_n.max())) >= len(config.label_gain):
        raise DataError(
            table="training_rows",
            field="label",
            found=highest,
            allowed=f"0..{len(config.label_gain) - 1}",
            fix="give label_gain one gain per grade",
        )
