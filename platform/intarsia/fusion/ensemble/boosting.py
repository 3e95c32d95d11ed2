"""Boosting: trees that correct each other, over every retriever's score, normalised scores and ranks (LambdaMART by LightGBM).

No feature of the product or of the query is read: that is the ranker's part of the work. Letters: n candidates of all queries, S signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightgbm
import numpy as np

from intarsia.config import check_range, setting
from intarsia.errors import ArtifactError
from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.fuser import FusedBatch, fuse_one
from intarsia.fusion.method import read_config, read_part, write_header
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from intarsia.fusion.score.candidate_features import signal_names, signals, within_depth
from intarsia.fusion.training_data import PackedTrainingData, check_training_data
from intarsia.records.candidates import Candidates

MODEL = "trees.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostingConfig:
    """How the trees are grown. The defaults are for a few hundred judged queries: small trees, much shrinkage."""

    kind: Literal["boosting"] = setting("this kind", "boosting")
    num_rounds: int = setting("most trees", 300)
    early_stopping_rounds: int = setting("stop when validation nDCG has not risen for so many trees; 0 never stops", 40)
    learning_rate: float = setting("shrinkage of each tree", 0.05)
    num_leaves: int = setting("leaves of a tree", 8)
    min_data_in_leaf: int = setting("candidates a leaf needs", 50)
    lambda_l2: float = setting("L2 penalty on leaf values", 5.0)
    feature_fraction: float = setting("share of the signals each tree sees", 0.7)
    bagging_fraction: float = setting("share of the queries each tree sees; 1 turns it off", 0.8)
    only_rises: bool = setting("a retriever's better opinion never lowers the fused score (monotone trees)", True)
    depth: int = setting("ranks beyond it count as not returned; a candidate nobody returned is dropped", 1000)
    k: int = setting("nDCG@k of the validation queries is watched", 10)

    def __post_init__(self) -> None:
        check_range(self, "num_rounds", "min_data_in_leaf", "depth", "k", low=1)
        check_range(self, "num_leaves", low=2)
        check_range(self, "early_stopping_rounds", "lambda_l2", low=0)
        check_range(self, "learning_rate", "feature_fraction", "bagging_fraction", low=0.01, high=1)


class BoostedFuser:
    """Trees over signals; a candidate's score has the same bits in any batch.

    Args:
        config: what it was fitted with; `depth` matters here.
        retrievers: whose scores it reads, in the order of the fit.
        model_text: LightGBM's text form.
    """

    def __init__(self, config: BoostingConfig, retrievers: Sequence[str], model_text: str) -> None:
        self._config, self._retrievers, self._model_text = config, tuple(retrievers), model_text
        self._trees = lightgbm.Booster(model_str=model_text)

    @classmethod
    def open(cls, folder: Path, products: ProductVectors | None = None) -> BoostedFuser:
        """What `save` wrote.

        Raises:
            ArtifactError: it is missing or torn, or the trees are of other signals.
        """
        config, header = read_config(BoostingConfig, folder)
        retrievers, text = header.get("retrievers", ()), read_part(folder, MODEL)
        try:
            fuser = cls(config, retrievers, text)
        except lightgbm.basic.LightGBMError as error:
            raise ArtifactError(f"{folder / MODEL} is not a model: {error}; run search_fusion again") from None
        if tuple(fuser._trees.feature_name()) != signal_names(retrievers):
            raise ArtifactError(f"{folder / MODEL} reads other signals than this code makes; run search_fusion again")
        return fuser

    def fuse(self, candidates: Candidates) -> Candidates:
        """One query, see `Fuser.fuse`."""
        return fuse_one(self, candidates)

    def fuse_batch(self, batch: CandidateBatch) -> FusedBatch:
        """Many queries at once.

        Raises:
            ReleaseMismatch: a retriever that the trees do not know.
        """
        kept, kept_n = within_depth(batch, self._retrievers, self._config.depth)
        fused_n = np.zeros(0, np.float32)
        if len(kept.rows_n):
            fused_n = np.asarray(self._trees.predict(signals(kept), raw_score=True, num_threads=1), np.float32)
        return FusedBatch(kept_n=kept_n, batch=kept, fused_n=fused_n)

    def save(self, folder: Path) -> None:
        """Write settings and trees."""
        (folder / MODEL).write_text(self._model_text, encoding="utf-8")
        write_header(folder, self._config, {"retrievers": list(self._retrievers)})


def fit_boosting(
    config: BoostingConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int
) -> BoostedFuser:
    """LambdaMART on train; validation says after which tree to stop, where something in it is relevant.

    Raises:
        DataError: no candidate of a train query is relevant.

    Source: Friedman, Annals of Statistics 2001, doi:10.1214/aos/1013203451; Burges, "From RankNet to LambdaRank to LambdaMART", 2010
    """
    check_training_data("train", train)
    learn = PackedTrainingData.of(train)
    retrievers = learn.batch.retrievers
    grades = np.unique([0.0, *(grade for one in (train, validation) for of in one.grades for grade in of)])
    data = _dataset(learn, retrievers, config, grades)
    check = PackedTrainingData.of(validation)
    watched = [_dataset(check, retrievers, config, grades)] if bool((check.grades_n > 0).any()) else []
    stops = config.early_stopping_rounds > 0 and len(watched) > 0
    booster = lightgbm.train(
        _parameters(config, len(signal_names(retrievers)), grades, seed),
        data,
        num_boost_round=config.num_rounds,
        valid_sets=watched,
        callbacks=[lightgbm.early_stopping(config.early_stopping_rounds, verbose=False)] if stops else [],
    )
    return BoostedFuser(config, retrievers, booster.model_to_string(num_iteration=booster.best_iteration or -1))


def _dataset(
    training_data: PackedTrainingData, retrievers: Sequence[str], config: BoostingConfig, grades: np.ndarray
) -> Any:
    kept, kept_n = within_depth(training_data.batch, retrievers, config.depth)
    lengths_G = kept.groups.lengths_G
    return lightgbm.Dataset(
        signals(kept),
        label=np.searchsorted(
            grades, training_data.grades_n[kept_n]
        ),  # LightGBM wants whole numbers: places in `grades`
        group=lengths_G[lengths_G > 0],
        feature_name=list(signal_names(retrievers)),
        free_raw_data=False,
    )


def _parameters(config: BoostingConfig, num_signals: int, grades: np.ndarray, seed: int) -> dict[str, Any]:
    """LightGBM's own names, with what makes equal inputs give equal trees."""
    return {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [config.k],
        "label_gain": (np.exp2(grades) - 1.0).tolist(),
        "lambdarank_truncation_level": 2 * config.k,
        "learning_rate": config.learning_rate,
        "num_leaves": config.num_leaves,
        "min_data_in_leaf": config.min_data_in_leaf,
        "lambda_l2": config.lambda_l2,
        "feature_fraction": config.feature_fraction,
        "bagging_fraction": config.bagging_fraction,
        "bagging_freq": 1 if config.bagging_fraction < 1 else 0,
        "bagging_by_query": config.bagging_fraction < 1,
        "monotone_constraints": [1 if config.only_rises else 0] * num_signals,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "feature_pre_filter": False,
        "num_threads": 1,
        "verbosity": -1,
    }
