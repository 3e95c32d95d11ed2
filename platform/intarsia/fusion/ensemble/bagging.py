"""Bagging: one method is fitted on several bootstrap samples of the queries, and the scores of these fits are averaged.

It helps methods whose fit changes much with the queries (trees), and does little for stable ones (weights).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from intarsia.config import check_range, setting
from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.ensemble.base_methods import (
    BaseMethodConfig,
    fit_base,
    member_scores,
    open_members,
    save_members,
    standardise_columns,
)
from intarsia.fusion.ensemble.boosting import BoostingConfig
from intarsia.fusion.fuser import BatchFuser, FusedBatch, fuse_one
from intarsia.fusion.method import read_config, write_fusion_header
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from intarsia.fusion.score.column_weights import sum_columns
from intarsia.fusion.training_data import check_training_data, select_queries
from intarsia.records.candidates import Candidates

_MAX_DRAWS = 100  # of one sample, until it has a relevant candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class BaggingConfig:
    """Which method is fitted, and how often."""

    kind: Literal["bagging"] = setting("the fusion method", "bagging")
    base: BaseMethodConfig = setting("the method that is fitted on each sample", factory=BoostingConfig, advanced=True)
    num_bags: int = setting("number of samples", 8, advanced=True)
    depth: int = setting(
        "ranks below this depth count as not returned; a candidate that no retriever returned is dropped",
        1000,
        advanced=True,
    )

    def __post_init__(self) -> None:
        check_range(self, "num_bags", "depth", low=1)


@dataclass(frozen=True, slots=True)
class BaggedFuser:
    """The mean of its members' scores, which are first brought to one scale within each query."""

    config: BaggingConfig
    retrievers: tuple[str, ...]
    members: Sequence[BatchFuser]

    @classmethod
    def open(cls, folder: Path, products: ProductVectors | None = None) -> BaggedFuser:
        """Open a saved fuser.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        config, header = read_config(BaggingConfig, folder)
        return cls(config, tuple(header.get("retrievers", ())), open_members(folder, config.num_bags))

    def fuse(self, candidates: Candidates) -> Candidates:
        return fuse_one(self, candidates)

    def fuse_batch(self, batch: CandidateBatch) -> FusedBatch:
        """Fuse many queries at once.

        Raises:
            ReleaseMismatch: a retriever was not part of the fit.
        """
        kept, kept_n = batch.returned_within(self.config.depth, self.retrievers)
        scores_Mn = np.array([member_scores(member, kept) for member in self.members])
        equal_M = np.full(len(self.members), 1.0 / len(self.members))
        fused_n = sum_columns(equal_M, standardise_columns(scores_Mn, kept.groups))
        return FusedBatch(kept_n=kept_n, batch=kept, fused_n=fused_n.astype(np.float32))

    def save(self, folder: Path) -> None:
        save_members(self.members, folder)
        write_fusion_header(folder, self.config, {"retrievers": list(self.retrievers)})


def fit_bagging(
    config: BaggingConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int
) -> BaggedFuser:
    """Fit the base method on each bootstrap sample; every fit gets the same validation queries.

    Raises:
        DataError: no candidate of a train query is relevant.

    Source: Breiman, "Bagging predictors", Machine Learning 1996. doi:10.1007/BF00058655
    """
    check_training_data("train", train)
    rng = np.random.default_rng(seed)
    members = [
        fit_base(config.base, _bootstrap_sample(train, rng), validation, int(rng.integers(2**31)))
        for _ in range(config.num_bags)
    ]
    retrievers = tuple(dict.fromkeys(name for candidates in train.candidates for name in candidates.retrievers))
    return BaggedFuser(config, retrievers, members)


def _bootstrap_sample(train: FusionTrainingData, rng: np.random.Generator) -> FusionTrainingData:
    """Draw as many queries as train has, with replacement, such that one of them has a relevant candidate."""
    for _ in range(_MAX_DRAWS):
        sample = select_queries(train, rng.integers(len(train.query_ids), size=len(train.query_ids)).tolist())
        if any((grades > 0).any() for grades in sample.grades):
            return sample
    return train
