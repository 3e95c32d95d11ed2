"""Boosting: LambdaMART trees (LightGBM) over every retriever's scores, normalised scores and ranks.

They read no feature of the product or of the query; that is the ranker's task. Shapes: n candidates of all queries, R
retrievers, S columns.
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
from intarsia.fusion.method import read_config, read_text_file, write_fusion_header
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from intarsia.fusion.score.normalise import NORMALISERS
from intarsia.fusion.training_data import PackedTrainingData, check_training_data
from intarsia.maths.arrays import Floats
from intarsia.records.candidates import Candidates

TREES_FILE = "trees.txt"

_RANK_DAMPING = 60.0  # Cormack, Clarke and Büttcher, SIGIR 2009; see `score/reciprocal_rank.py`
_COLUMNS_PER_RETRIEVER = ("score", "min_max", "z", "reciprocal_rank")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostingConfig:
    """How the trees are grown. The defaults suit a few hundred judged queries: small trees, strong shrinkage."""

    kind: Literal["boosting"] = setting("the fusion method", "boosting")
    num_rounds: int = setting("maximum number of trees", 300, advanced=True)
    early_stopping_rounds: int = setting(
        "stop when validation nDCG has not risen for this many trees; 0 disables early stopping", 40, advanced=True
    )
    learning_rate: float = setting("shrinkage of each tree", 0.05, advanced=True)
    num_leaves: int = setting("leaves of a tree", 8, advanced=True)
    min_data_in_leaf: int = setting("minimum number of candidates in a leaf", 50, advanced=True)
    lambda_l2: float = setting("L2 penalty on leaf values", 5.0, advanced=True)
    feature_fraction: float = setting("share of the columns that each tree reads", 0.7, advanced=True)
    bagging_fraction: float = setting("share of the queries that each tree reads; 1 reads all", 0.8, advanced=True)
    only_rises: bool = setting(
        "monotone trees: a higher score of a retriever never lowers the fused score", True, advanced=True
    )
    depth: int = setting(
        "ranks below this depth count as not returned; a candidate that no retriever returned is dropped",
        1000,
        advanced=True,
    )
    k: int = setting("early stopping watches nDCG@k of the validation queries", 10, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "num_rounds", "min_data_in_leaf", "depth", "k", low=1)
        check_range(self, "num_leaves", low=2)
        check_range(self, "early_stopping_rounds", "lambda_l2", low=0)
        check_range(self, "learning_rate", "feature_fraction", "bagging_fraction", low=0.01, high=1)


def column_names(retrievers: Sequence[str]) -> tuple[str, ...]:
    """Names of the columns of `score_columns`."""
    return (*(f"{name}_{column}" for name in retrievers for column in _COLUMNS_PER_RETRIEVER), "num_returned")


def score_columns(batch: CandidateBatch) -> Floats:
    """Compute the columns that the trees read, float64 [n, S]; in each, a higher value means a better candidate.

    Per retriever: score, min_max, z (all NaN where it cannot score the candidate) and 1 / (60 + rank), 0 where it did
    not return the candidate. The last column is the number of retrievers that returned the candidate.
    """
    lowest_R = np.zeros(len(batch.retrievers))  # read by theoretical_min_max only
    columns = {
        "score": batch.scores_Rn,
        "min_max": NORMALISERS["min_max"](batch.scores_Rn, batch.groups, lowest_R),
        "z": NORMALISERS["z"](batch.scores_Rn, batch.groups, lowest_R),
        "reciprocal_rank": np.where(batch.ranks_Rn > 0, 1.0 / (_RANK_DAMPING + batch.ranks_Rn), 0.0),
    }
    by_retriever = [columns[name][at] for at in range(len(batch.retrievers)) for name in _COLUMNS_PER_RETRIEVER]
    return np.column_stack([*by_retriever, (batch.ranks_Rn > 0).sum(axis=0).astype(np.float64)])


class BoostedFuser:
    """Trees over score columns; the score of a candidate has the same bits in any batch.

    Args:
        config: the settings of the fit; `depth` is also used when fusing.
        retrievers: the retrievers whose scores it reads, in the order of the fit.
        model_text: the LightGBM model in text form.
    """

    def __init__(self, config: BoostingConfig, retrievers: Sequence[str], model_text: str) -> None:
        self._config, self._retrievers, self._model_text = config, tuple(retrievers), model_text
        self._trees = lightgbm.Booster(model_str=model_text)

    @classmethod
    def open(cls, folder: Path, products: ProductVectors | None = None) -> BoostedFuser:
        """Open a saved fuser.

        Raises:
            ArtifactError: a file is missing or damaged, or the trees read other columns.
        """
        config, header = read_config(BoostingConfig, folder)
        retrievers, text = header.get("retrievers", ()), read_text_file(folder, TREES_FILE)
        try:
            fuser = cls(config, retrievers, text)
        except lightgbm.basic.LightGBMError as error:
            raise ArtifactError(
                f"{folder / TREES_FILE} is not a model: {error}. Fix: run search_fusion again"
            ) from None
        if tuple(fuser._trees.feature_name()) != column_names(retrievers):
            raise ArtifactError(
                f"{folder / TREES_FILE} reads other columns than this version computes. Fix: run search_fusion again"
            )
        return fuser

    def fuse(self, candidates: Candidates) -> Candidates:
        return fuse_one(self, candidates)

    def fuse_batch(self, batch: CandidateBatch) -> FusedBatch:
        """Fuse many queries at once.

        Raises:
            ReleaseMismatch: a retriever was not part of the fit.
        """
        kept, kept_n = batch.returned_within(self._config.depth, self._retrievers)
        fused_n = np.zeros(0, np.float32)
        if len(kept.rows_n):
            fused_n = np.asarray(self._trees.predict(score_columns(kept), raw_score=True, num_threads=1), np.float32)
        return FusedBatch(kept_n=kept_n, batch=kept, fused_n=fused_n)

    def save(self, folder: Path) -> None:
        (folder / TREES_FILE).write_text(self._model_text, encoding="utf-8")
        write_fusion_header(folder, self._config, {"retrievers": list(self._retrievers)})


def fit_boosting(
    config: BoostingConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int
) -> BoostedFuser:
    """Fit LambdaMART on train, with early stopping on validation if it has a relevant candidate.

    Raises:
        DataError: no candidate of a train query is relevant.

    Source: Friedman, Annals of Statistics 2001, doi:10.1214/aos/1013203451; Burges, "From RankNet to LambdaRank to
    LambdaMART", 2010
    """
    check_training_data("train", train)
    packed_train, packed_validation = PackedTrainingData.of(train), PackedTrainingData.of(validation)
    retrievers = packed_train.batch.retrievers
    all_grades = (grade for split in (train, validation) for grades in split.grades for grade in grades)
    distinct_grades = np.unique([0.0, *all_grades])
    train_set = _dataset(packed_train, retrievers, config, distinct_grades)
    valid_sets = []
    if bool((packed_validation.grades_n > 0).any()):
        valid_sets = [_dataset(packed_validation, retrievers, config, distinct_grades)]
    callbacks = []
    if config.early_stopping_rounds > 0 and valid_sets:
        callbacks = [lightgbm.early_stopping(config.early_stopping_rounds, verbose=False)]
    booster = lightgbm.train(
        _parameters(config, len(column_names(retrievers)), distinct_grades, seed),
        train_set,
        num_boost_round=config.num_rounds,
        valid_sets=valid_sets,
        callbacks=callbacks,
    )
    return BoostedFuser(config, retrievers, booster.model_to_string(num_iteration=booster.best_iteration or -1))


def _dataset(
    training_data: PackedTrainingData, retrievers: Sequence[str], config: BoostingConfig, distinct_grades: np.ndarray
) -> Any:
    kept, kept_n = training_data.batch.returned_within(config.depth, retrievers)
    lengths_G = kept.groups.lengths_G
    return lightgbm.Dataset(
        score_columns(kept),
        # LightGBM takes integer labels: positions in `distinct_grades`, which `label_gain` maps back to gains
        label=np.searchsorted(distinct_grades, training_data.grades_n[kept_n]),
        group=lengths_G[lengths_G > 0],
        feature_name=list(column_names(retrievers)),
        free_raw_data=False,
    )


def _parameters(config: BoostingConfig, num_columns: int, distinct_grades: np.ndarray, seed: int) -> dict[str, Any]:
    """Return the LightGBM parameters, including those that make equal inputs give equal trees."""
    return {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [config.k],
        "label_gain": (np.exp2(distinct_grades) - 1.0).tolist(),
        "lambdarank_truncation_level": 2 * config.k,
        "learning_rate": config.learning_rate,
        "num_leaves": config.num_leaves,
        "min_data_in_leaf": config.min_data_in_leaf,
        "lambda_l2": config.lambda_l2,
        "feature_fraction": config.feature_fraction,
        "bagging_fraction": config.bagging_fraction,
        "bagging_freq": 1 if config.bagging_fraction < 1 else 0,
        "bagging_by_query": config.bagging_fraction < 1,
        "monotone_constraints": [1 if config.only_rises else 0] * num_columns,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "feature_pre_filter": False,
        "num_threads": 1,
        "verbosity": -1,
    }
