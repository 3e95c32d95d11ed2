"""Bagging: one kind fitted many times, each time on queries drawn with replacement; the mean of what they say.

It steadies kinds that change much with few queries more or less (trees), and does little for those that do not (weights).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from intarsia.config import check_range, setting
from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.ensemble.boosting import BoostingConfig
from intarsia.fusion.ensemble.ensemble_members import comparable, member_scores, open_members, save_members
from intarsia.fusion.fuser import BatchFuser, FusedBatch, fuse_one
from intarsia.fusion.method import read_config, write_header
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from intarsia.fusion.score.candidate_features import within_depth
from intarsia.fusion.score.listwise import weighted_sum
from intarsia.fusion.score.plain_methods import BaseConfig, fit_base
from intarsia.fusion.training_data import check_training_data, select
from intarsia.records.candidates import Candidates

_MOST_DRAWS = 100  # of a bag's queries, until one of them has a relevant candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class BaggingConfig:
    """What is fitted, and how often."""

    kind: Literal["bagging"] = setting("this kind", "bagging")
    base: BaseConfig = setting("what each bag fits", factory=BoostingConfig)
    num_bags: int = setting("fits", 8)
    depth: int = setting("ranks beyond it count as not returned; a candidate nobody returned is dropped", 1000)

    def __post_init__(self) -> None:
        check_range(self, "num_bags", "depth", low=1)


@dataclass(frozen=True, slots=True)
class BaggedFuser:
    """The mean of its members, each made comparable query by query."""

    config: BaggingConfig
    retrievers: tuple[str, ...]
    members: Sequence[BatchFuser]

    @classmethod
    def open(cls, folder: Path, products: ProductVectors | None = None) -> BaggedFuser:
        """What `save` wrote.

        Raises:
            ArtifactError: it is missing or torn.
        """
        config, header = read_config(BaggingConfig, folder)
        return cls(config, tuple(header.get("retrievers", ())), open_members(folder, config.num_bags))

    def fuse(self, candidates: Candidates) -> Candidates:
        """One query, see `Fuser.fuse`."""
        return fuse_one(self, candidates)

    def fuse_batch(self, batch: CandidateBatch) -> FusedBatch:
        """Many queries at once.

        Raises:
            ReleaseMismatch: a retriever that the members do not know.
        """
        kept, kept_n = within_depth(batch, self.retrievers, self.config.depth)
        scores_Mn = np.array([member_scores(member, kept) for member in self.members])
        shares_M = np.full(len(self.members), 1.0 / len(self.members))
        fused_n = weighted_sum(shares_M, comparable(scores_Mn, kept.groups))
        return FusedBatch(kept_n=kept_n, batch=kept, fused_n=fused_n.astype(np.float32))

    def save(self, folder: Path) -> None:
        """Write settings and members."""
        save_members(self.members, folder)
        write_header(folder, self.config, {"retrievers": list(self.retrievers)})


def fit_bagging(
    config: BaggingConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int
) -> BaggedFuser:
    """Fit each bag on as many queries as train has, drawn with replacement; validation serves each bag as the base kind uses it.

    Raises:
        DataError: no candidate of a train query is relevant.

    Source: Breiman, "Bagging predictors", Machine Learning 1996. doi:10.1007/BF00058655
    """
    check_training_data("train", train)
    rng = np.random.default_rng(seed)
    members = [
        fit_base(config.base, _bag(train, rng), validation, int(rng.integers(2**31))) for _ in range(config.num_bags)
    ]
    retrievers = tuple(dict.fromkeys(name for one in train.candidates for name in one.retrievers))
    return BaggedFuser(config, retrievers, members)


def _bag(train: FusionTrainingData, rng: np.random.Generator) -> FusionTrainingData:
    for _ in range(_MOST_DRAWS):
        drawn = select(train, rng.integers(len(train.query_ids), size=len(train.query_ids)).tolist())
        if any((grades > 0).any() for grades in drawn.grades):
            return drawn
    return train
