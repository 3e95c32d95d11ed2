"""Stacking: a second model learns how far to trust each retriever and each fusion, from scores that never saw the query they are of.

Members are fitted fold by fold; what each says of the queries of the fold left out are the rows of the second model. Then the members are
fitted again on all queries. Letters: n candidates of all queries, M columns (retrievers, then members).
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
from intarsia.fusion.ensemble.boosting import BoostingConfig
from intarsia.fusion.ensemble.ensemble_members import comparable, member_scores, open_members, save_members
from intarsia.fusion.ensemble.folds import fit_without
from intarsia.fusion.fuser import BatchFuser, FusedBatch, fuse_one
from intarsia.fusion.method import read_config, write_header
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from intarsia.fusion.score.candidate_features import within_depth
from intarsia.fusion.score.coordinate_ascent import best_shares
from intarsia.fusion.score.listwise import fit_listwise, weighted_sum
from intarsia.fusion.score.plain_methods import BASE_KINDS, BaseConfig, fit_base
from intarsia.fusion.score.weighted import WeightedConfig
from intarsia.fusion.spec import FILE, FusionSpec
from intarsia.fusion.training_data import ListGains, PackedTrainingData, check_training_data
from intarsia.ids import fold_of
from intarsia.maths.arrays import Floats
from intarsia.records.candidates import Candidates


def _default_members() -> tuple[BaseConfig, ...]:
    return FusionSpec(kind="rrf"), FusionSpec(kind="comb_mnz"), WeightedConfig(), BoostingConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class StackingConfig:
    """What is stacked, and how the second model learns."""

    kind: Literal["stacking"] = setting("this kind", "stacking")
    members: tuple[BaseConfig, ...] = setting("stacked beside the retrievers themselves", factory=_default_members)
    num_folds: int = setting("folds of the train queries for the members' out-of-fold scores", 5)
    l2: float = setting("penalty on the second model's weights", 1e-3)
    depth: int = setting("ranks beyond it count as not returned; a candidate nobody returned is dropped", 1000)
    k: int = setting("nDCG@k of the train queries is what the second model raises", 10)

    def __post_init__(self) -> None:
        check_range(self, "num_folds", low=2)
        check_range(self, "l2", low=0.0)
        check_range(self, "depth", "k", low=1)


@dataclass(frozen=True, slots=True)
class StackedFuser:
    """A weighted sum of retrievers and members, each made comparable query by query; no weight is below 0."""

    config: StackingConfig
    retrievers: tuple[str, ...]
    members: Sequence[BatchFuser]
    weights_M: Floats

    @classmethod
    def open(cls, folder: Path, products: ProductVectors | None = None) -> StackedFuser:
        """What `save` wrote.

        Raises:
            ArtifactError: it is missing or torn.
        """
        config, header = read_config(StackingConfig, folder)
        retrievers, weights = tuple(header.get("retrievers", ())), np.array(header.get("weights", ()), np.float64)
        if len(weights) != len(retrievers) + len(config.members):
            raise ArtifactError(
                f"{folder / FILE} has {len(weights)} weights for {len(retrievers)} retrievers and {len(config.members)} members; "
                "run search_fusion again"
            )
        return cls(config, retrievers, open_members(folder, len(config.members)), weights)

    def fuse(self, candidates: Candidates) -> Candidates:
        """One query, see `Fuser.fuse`."""
        return fuse_one(self, candidates)

    def fuse_batch(self, batch: CandidateBatch) -> FusedBatch:
        """Many queries at once.

        Raises:
            ReleaseMismatch: a retriever that was not there at the fit.
        """
        kept, kept_n = within_depth(batch, self.retrievers, self.config.depth)
        scores_Mn = np.array([*kept.scores_Rn, *(member_scores(member, kept) for member in self.members)])
        fused_n = weighted_sum(self.weights_M, comparable(scores_Mn, kept.groups))
        return FusedBatch(kept_n=kept_n, batch=kept, fused_n=fused_n.astype(np.float32))

    def save(self, folder: Path) -> None:
        """Write settings, weights and members."""
        save_members(self.members, folder)
        facts = {"retrievers": list(self.retrievers), "weights": self.weights_M.tolist()}
        write_header(folder, self.config, facts)


def fit_stacking(
    config: StackingConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int
) -> StackedFuser:
    """Members by cross-fitting, then the second model on their out-of-fold scores; validation serves the members alone.

    Raises:
        DataError: no candidate of a train query is relevant, or some fold leaves the others none.

    Source: Wolpert, "Stacked generalization", Neural Networks 1992, doi:10.1016/S0893-6080(05)80023-1; weights of 0 or more after
    Breiman, "Stacked regressions", Machine Learning 1996, doi:10.1007/BF00117832. The weights start where the listwise loss has its least,
    and are then moved as long as nDCG rises (`ascent.py`).
    """
    check_training_data("train", train)
    learn = PackedTrainingData.of(train)
    retrievers = learn.batch.retrievers
    kept, kept_n = within_depth(learn.batch, retrievers, config.depth)
    scores_Mn = np.array(
        [*kept.scores_Rn, *(_out_of_fold(one, config, train, validation, kept, seed) for one in config.members)]
    )
    columns_Mn = comparable(scores_Mn, kept.groups)
    start_M = fit_listwise(
        columns_Mn,
        kept.groups,
        learn.gains_n[kept_n],
        penalties_F=np.full(len(columns_Mn), config.l2),
        least_F=np.zeros(len(columns_Mn)),
        start_F=np.ones(len(columns_Mn)),
    )
    equal_M = np.full(len(columns_Mn), 1.0 / len(columns_Mn))
    starts = [equal_M, *([start_M / start_M.sum()] if start_M.any() else [])]
    lists = ListGains(kept.groups, learn.gains_n[kept_n], learn.ideal_dcg_G(config.k), config.k)
    weights_M = np.array(best_shares(columns_Mn, lists, (tuple(start.tolist()) for start in starts))[0])
    members = [fit_base(one, train, validation, seed) for one in config.members]
    return StackedFuser(config, retrievers, members, weights_M)


def _out_of_fold(
    member: BaseConfig,
    config: StackingConfig,
    train: FusionTrainingData,
    validation: FusionTrainingData,
    batch: CandidateBatch,
    seed: int,
) -> Floats:
    """What a member says of each candidate when it was fitted without its query, float64 [n]."""
    if not BASE_KINDS[member.kind].is_fitted:
        return member_scores(fit_base(member, train, validation, seed), batch)
    fusers = fit_without(partial(_fit, member, validation, seed), train, config.num_folds)
    fold_G = np.array([fold_of(query_id, config.num_folds) for query_id in train.query_ids])
    scores_n = np.empty(len(batch.rows_n))
    for fold, fuser in enumerate(fusers):
        scores_n[np.repeat(fold_G == fold, batch.groups.lengths_G)] = member_scores(
            fuser, batch.only_queries(fold_G == fold)
        )
    return scores_n


def _fit(member: BaseConfig, validation: FusionTrainingData, seed: int, train: FusionTrainingData) -> BatchFuser:
    return fit_base(member, train, validation, seed)
