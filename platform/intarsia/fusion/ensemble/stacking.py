"""Stacking: a linear model over retrievers and other fusion methods (the members), fitted on out-of-fold scores.

Each member is fitted once per fold; its scores on the queries of that fold are training rows of the linear model. The
members are then fitted again on all train queries. Shapes: n candidates of all queries, M columns (retrievers, then
members).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from intarsia.config import check_range, setting
from intarsia.errors import ArtifactError
from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.ensemble.base_methods import (
    BASE_METHODS,
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
from intarsia.fusion.score.column_weights import ascend_ndcg, fit_listwise, sum_columns
from intarsia.fusion.score.weighted import WeightedConfig
from intarsia.fusion.spec import FUSION_FILE, FusionSpec
from intarsia.fusion.training_data import ListGains, PackedTrainingData, check_training_data, fit_per_fold
from intarsia.ids import fold_of
from intarsia.maths.arrays import Floats
from intarsia.records.candidates import Candidates


def _default_members() -> tuple[BaseMethodConfig, ...]:
    return FusionSpec(kind="rrf"), FusionSpec(kind="comb_mnz"), WeightedConfig(), BoostingConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class StackingConfig:
    """Which methods are stacked, and how the linear model is fitted."""

    kind: Literal["stacking"] = setting("the fusion method", "stacking")
    members: tuple[BaseMethodConfig, ...] = setting(
        "methods that are stacked in addition to the retrievers", factory=_default_members, advanced=True
    )
    num_folds: int = setting("folds of the train queries for the out-of-fold scores", 5, advanced=True)
    l2: float = setting("L2 penalty on the weights of the linear model", 1e-3, advanced=True)
    depth: int = setting(
        "ranks below this depth count as not returned; a candidate that no retriever returned is dropped",
        1000,
        advanced=True,
    )
    k: int = setting("the linear model maximises nDCG@k of the train queries", 10, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "num_folds", low=2)
        check_range(self, "l2", low=0.0)
        check_range(self, "depth", "k", low=1)


@dataclass(frozen=True, slots=True)
class StackedFuser:
    """A weighted sum of retrievers and members, brought to one scale within each query; no weight is negative."""

    config: StackingConfig
    retrievers: tuple[str, ...]
    members: Sequence[BatchFuser]
    weights_M: Floats

    @classmethod
    def open(cls, folder: Path, products: ProductVectors | None = None) -> StackedFuser:
        """Open a saved fuser.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        config, header = read_config(StackingConfig, folder)
        retrievers, weights = tuple(header.get("retrievers", ())), np.array(header.get("weights", ()), np.float64)
        if len(weights) != len(retrievers) + len(config.members):
            raise ArtifactError(
                f"{folder / FUSION_FILE} has {len(weights)} weights for {len(retrievers)} retrievers and "
                f"{len(config.members)} members. Fix: run search_fusion again"
            )
        return cls(config, retrievers, open_members(folder, len(config.members)), weights)

    def fuse(self, candidates: Candidates) -> Candidates:
        return fuse_one(self, candidates)

    def fuse_batch(self, batch: CandidateBatch) -> FusedBatch:
        """Fuse many queries at once.

        Raises:
            ReleaseMismatch: a retriever was not part of the fit.
        """
        kept, kept_n = batch.returned_within(self.config.depth, self.retrievers)
        scores_Mn = np.array([*kept.scores_Rn, *(member_scores(member, kept) for member in self.members)])
        fused_n = sum_columns(self.weights_M, standardise_columns(scores_Mn, kept.groups))
        return FusedBatch(kept_n=kept_n, batch=kept, fused_n=fused_n.astype(np.float32))

    def save(self, folder: Path) -> None:
        save_members(self.members, folder)
        fitted = {"retrievers": list(self.retrievers), "weights": self.weights_M.tolist()}
        write_fusion_header(folder, self.config, fitted)


def fit_stacking(
    config: StackingConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int
) -> StackedFuser:
    """Fit the linear model on out-of-fold scores of the members, then the members on all train queries.

    The weights start at the minimum of a listwise loss; coordinate ascent then maximises nDCG
    (`score/column_weights.py`).

    Args:
        config: settings.
        train: members and linear model are fitted on these queries.
        validation: passed to the fits of the members.
        seed: of the members' fits.

    Raises:
        DataError: no candidate of a train query is relevant, or the queries outside some fold have none.

    Source: Wolpert, "Stacked generalization", Neural Networks 1992, doi:10.1016/S0893-6080(05)80023-1; weights of 0 or
    more after Breiman, "Stacked regressions", Machine Learning 1996, doi:10.1007/BF00117832.
    """
    check_training_data("train", train)
    packed = PackedTrainingData.of(train)
    retrievers = packed.batch.retrievers
    kept, kept_n = packed.batch.returned_within(config.depth, retrievers)
    member_scores_Mn = [_out_of_fold_scores(member, config, train, validation, kept, seed) for member in config.members]
    columns_Mn = standardise_columns(np.array([*kept.scores_Rn, *member_scores_Mn]), kept.groups)
    listwise_M = fit_listwise(
        columns_Mn,
        kept.groups,
        packed.gains_n[kept_n],
        penalties_F=np.full(len(columns_Mn), config.l2),
        lower_bounds_F=np.zeros(len(columns_Mn)),
        start_F=np.ones(len(columns_Mn)),
    )
    equal_M = np.full(len(columns_Mn), 1.0 / len(columns_Mn))
    starts = [equal_M, *([listwise_M / listwise_M.sum()] if listwise_M.any() else [])]
    lists = ListGains(kept.groups, packed.gains_n[kept_n], packed.ideal_dcg_G(config.k), config.k)
    weights_M = np.array(ascend_ndcg(columns_Mn, lists, (tuple(start_M.tolist()) for start_M in starts))[0])
    members = [fit_base(member, train, validation, seed) for member in config.members]
    return StackedFuser(config, retrievers, members, weights_M)


def _out_of_fold_scores(
    member: BaseMethodConfig,
    config: StackingConfig,
    train: FusionTrainingData,
    validation: FusionTrainingData,
    batch: CandidateBatch,
    seed: int,
) -> Floats:
    """Score each candidate by a fit of the member without the candidate's query, float64 [n]."""
    if not BASE_METHODS[member.kind].is_fitted:
        return member_scores(fit_base(member, train, validation, seed), batch)
    fusers = fit_per_fold(partial(_fit_member, member, validation, seed), train, config.num_folds)
    fold_G = np.array([fold_of(query_id, config.num_folds) for query_id in train.query_ids])
    scores_n = np.empty(len(batch.rows_n))
    for fold, fuser in enumerate(fusers):
        scores_n[np.repeat(fold_G == fold, batch.groups.lengths_G)] = member_scores(
            fuser, batch.only_queries(fold_G == fold)
        )
    return scores_n


def _fit_member(
    member: BaseMethodConfig, validation: FusionTrainingData, seed: int, train: FusionTrainingData
) -> BatchFuser:
    return fit_base(member, train, validation, seed)
