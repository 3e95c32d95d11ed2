"""LambdaMART by LightGBM: its settings, and one fit, alone or as one of the ranks of a distributed fit.

Who starts the ranks is `onray/training.py`'s matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np

from intarsia.config import setting
from intarsia.errors import DataError
from intarsia.ids import sha256_bytes
from intarsia.ranking.prior import prior_scores
from intarsia.ranking.rows import RankingRows

METRIC_AT = 10

_NETWORK_LINE = re.compile(r"\[(machines|local_listen_port|num_machines|machine_list_filename): .*\]\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaMartConfig:
    """How the ranker is fitted. The defaults are for a few hundred judged queries: small trees, much shrinkage."""

    num_rounds: int = setting("most trees that are tried", 400)
    early_stopping_rounds: int = setting(
        "stop when validation nDCG@10 has not risen for so many trees; 0 never stops", 60
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
        "what a row scores before the first tree, per standard deviation of its fused score; 0 starts from nothing",
        0.25,
    )
    seed: int = setting("of every random choice of the fit", 20_260)

    def __post_init__(self) -> None:
        for name in ("num_rounds", "min_data_in_leaf", "truncation_level"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.num_leaves < 2 or self.max_bin < 2:
            raise ValueError(f"num_leaves is {self.num_leaves} and max_bin {self.max_bin}; allowed: 2 or more")
        for name in ("learning_rate", "feature_fraction", "bagging_fraction"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: above 0, at most 1")
        for name in ("early_stopping_rounds", "lambda_l2", "min_sum_hessian_in_leaf", "prior_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 or more")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted model: LightGBM's text up to the best iteration, the digest of its trees, and validation nDCG@10 after each tree.

    The text holds the trees alone: what rows score before the first (`prior.py`) is the ranker's to add.
    """

    model_text: str
    trees_sha256: str
    best_iteration: int
    curve: tuple[float, ...]

    @property
    def validation_ndcg(self) -> float:
        """nDCG@10 on validation at the best iteration; LightGBM's, over the rows that were retrieved."""
        return self.curve[self.best_iteration - 1]


def fit_lambdamart(
    train: RankingRows,
    validation: RankingRows,
    configs: Sequence[LambdaMartConfig],
    network: Mapping[str, Any] | None = None,
) -> list[Fit]:
    """Fit one model per config.

    Args:
        train: rows of this rank.
        validation: the *same* rows on every rank, so that all of them stop at the same tree; a rank that stopped alone would leave the
            others waiting.
        configs: settings of each fit, equal on every rank.
        network: LightGBM's network parameters of this rank (machines, num_machines, local_listen_port); nothing fits alone.

    Raises:
        DataError: a grade without a gain, or nothing to learn from.
    """
    boosters: list[lightgbm.Booster] = []
    fits: list[Fit] = []
    for config in configs:
        for name, rows in (("train", train), ("validation", validation)):
            _check(name, rows, config)
        # the first fit opens the network for all: to close and bind the same port again fails while old connections linger
        booster, fit = _fit(train, validation, config, _network_parameters(network, is_open=bool(boosters)))
        boosters.append(booster)
        fits.append(fit)
    if network and boosters:
        boosters[0].free_network()
    return fits


def _network_parameters(network: Mapping[str, Any] | None, *, is_open: bool) -> dict[str, Any]:
    """Without the first two parameters every rank would silently fit a model of its own shard."""
    if not network:
        return {}
    opening = {} if is_open else network
    return {
        "tree_learner": "data_parallel",
        "pre_partition": True,
        "num_machines": network["num_machines"],
        **opening,
    }


def _fit(
    train: RankingRows, validation: RankingRows, config: LambdaMartConfig, network: Mapping[str, Any]
) -> tuple[lightgbm.Booster, Fit]:
    curves: dict[str, dict[str, list[float]]] = {}
    callbacks = [lightgbm.record_evaluation(curves)]
    if config.early_stopping_rounds:
        callbacks.append(lightgbm.early_stopping(config.early_stopping_rounds, verbose=False))
    train_set = _dataset(train, config.prior_weight)
    booster = lightgbm.train(
        {**config.parameters(), **network},
        train_set,
        num_boost_round=config.num_rounds,
        valid_sets=[_dataset(validation, config.prior_weight, train_set)],
        valid_names=["validation"],
        callbacks=callbacks,
    )
    curve = tuple(curves["validation"][f"ndcg@{METRIC_AT}"])
    best_iteration = booster.best_iteration if config.early_stopping_rounds else len(curve)
    text = _NETWORK_LINE.sub("", booster.model_to_string(num_iteration=best_iteration))
    trees = text.partition("\nparameters:")[0]
    fit = Fit(model_text=text, trees_sha256=sha256_bytes(trees.encode()), best_iteration=best_iteration, curve=curve)
    return booster, fit


def _dataset(rows: RankingRows, prior_weight: float, reference: lightgbm.Dataset | None = None) -> lightgbm.Dataset:
    return lightgbm.Dataset(
        rows.values_nF,
        label=rows.labels_n,
        group=np.diff(rows.offsets_G),
        weight=None if np.all(rows.weights_n == 1) else rows.weights_n,
        init_score=prior_scores(rows.values_nF, rows.feature_names, prior_weight),
        feature_name=list(rows.feature_names),
        reference=reference,
        free_raw_data=True,
    )


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
