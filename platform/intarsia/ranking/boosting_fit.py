"""Trees of one objective: rows as LightGBM wants them, the fit up to the best tree, and what they score. Letter: n rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from intarsia.ranking.init_score import Start
from intarsia.ranking.network import Links, without_network
from intarsia.ranking.rows import RankingRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Trees up to the best of their kind, what rows score before the first, and the figure after each tried."""

    text: str
    start: Start
    curve: tuple[float, ...]

    @property
    def num_trees(self) -> int:
        """Of its text."""
        return int(lightgbm.Booster(model_str=self.text).num_trees())

    def scores(self, rows: RankingRows) -> NDArray[np.float64]:
        """float64 [n], as the ranker will score them."""
        trees = lightgbm.Booster(model_str=self.text)
        return begin_at(rows, self.start) + np.asarray(
            trees.predict(rows.values_nF, raw_score=True, num_threads=1), np.float64
        )


def early_stopped(
    parameters: Mapping[str, Any],
    sets: Sequence[lightgbm.Dataset],
    start: Start,
    num_rounds: int,
    early_stopping_rounds: int,
    links: Links,
) -> Part:
    """Trees on the first of two sets, up to the best figure on the second; all of them where nothing stops early."""
    curves: dict[str, dict[str, list[float]]] = {}
    callbacks = [lightgbm.record_evaluation(curves)]
    if early_stopping_rounds:
        callbacks.append(lightgbm.early_stopping(early_stopping_rounds, verbose=False))
    train_set, validation_set = sets
    booster = links.train(
        parameters,
        train_set,
        num_boost_round=num_rounds,
        valid_sets=[validation_set],
        valid_names=["validation"],
        callbacks=callbacks,
    )
    (curve,) = curves["validation"].values()
    best_iteration = booster.best_iteration if early_stopping_rounds else len(curve)
    text = without_network(booster.model_to_string(num_iteration=best_iteration))
    return Part(text=text, start=start, curve=tuple(curve))


def dataset(
    rows: RankingRows,
    targets_n: NDArray[Any],
    begin_n: NDArray[np.float64],
    reference: lightgbm.Dataset | None = None,
) -> lightgbm.Dataset:
    """Rows as LightGBM wants them, binned like the reference."""
    return lightgbm.Dataset(
        rows.values_nF,
        label=targets_n,
        group=np.diff(rows.offsets_G),
        weight=None if np.all(rows.weights_n == 1) else rows.weights_n,
        init_score=begin_n,
        feature_name=list(rows.feature_names),
        reference=reference,
        free_raw_data=True,
    )


def begin_at(rows: RankingRows, start: Start) -> NDArray[np.float64]:
    """float64 [n]: what rows score before the first tree."""
    begin_n = start.scores(rows.values_nF, rows.feature_names)
    return np.zeros(len(rows.labels_n)) if begin_n is None else begin_n
