"""Weights found on judged queries: the weighted average of all retrievers that ranks the train queries best.

What comes out is a plain `FusionSpec` (kind convex), so it is saved, opened and served as one. A wider search, with trials beside each
other, is `pipelines/search_fusion`'s matter. Letters: R retrievers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from intarsia.config import check_range, setting
from intarsia.fusion.fuser import SpecFuser, fuse_batch
from intarsia.fusion.protocol import FusionTrainingData
from intarsia.fusion.score.convex import opinions
from intarsia.fusion.score.coordinate_ascent import best_shares, grid_points
from intarsia.fusion.spec import FusionSpec, NormaliserName
from intarsia.fusion.training_data import ListGains, PackedTrainingData, check_training_data


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedConfig:
    """How weights are looked for."""

    kind: Literal["weighted"] = setting("this kind", "weighted")
    normalisers: tuple[NormaliserName, ...] = setting(
        "tried in turn; validation chooses", ("min_max", "theoretical_min_max", "z")
    )
    num_steps: int = setting("first all weights with steps of 1 / this are tried, then finer ones around the best", 5)
    depth: int = setting("ranks beyond it count as not returned", 1000)
    k: int = setting("nDCG@k of the train queries is what is raised", 10)

    def __post_init__(self) -> None:
        if not self.normalisers:
            raise ValueError("normalisers are empty; allowed: one or more")
        check_range(self, "num_steps", "depth", "k", low=1)


def fit_weighted(
    config: WeightedConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int
) -> SpecFuser:
    """The convex fusion with the best weights on train, for each normaliser; validation chooses among these.

    Args:
        config: what is tried.
        train: chooses the weights.
        validation: chooses the normaliser; train does if nothing is relevant in it.
        seed: does nothing; the search is exhaustive, then greedy.

    Raises:
        DataError: no candidate of a train query is relevant.
    """
    check_training_data("train", train)
    learn, check = PackedTrainingData.of(train), PackedTrainingData.of(validation)
    found = [
        best_weights(FusionSpec(kind="convex", normaliser=name, depth=config.depth), learn, config)
        for name in config.normalisers
    ]
    ndcgs = [
        (check.mean_ndcg(fuse_batch(spec, check.batch), config.k) if validation.query_ids else 0.0, on_train)
        for spec, on_train in found
    ]
    best = max(range(len(found)), key=lambda at: ndcgs[at])  # of equals the first
    return SpecFuser(found[best][0])


def best_weights(
    spec: FusionSpec, training_data: PackedTrainingData, config: WeightedConfig
) -> tuple[FusionSpec, float]:
    """The spec with the weights that are best on some lessons, and their nDCG@k.

    The search keeps the candidates of retrievers that weigh 0; the figure that is returned is that of the fuser itself.
    """
    within = training_data.batch.cut(spec.depth)
    kept_n = np.asarray((within.ranks_Rn > 0).any(axis=0))
    kept = within.keep(kept_n)
    normal_Rn, counts_Rn = opinions(spec, kept)
    able_R = np.asarray(counts_Rn.any(axis=1))
    lists = ListGains(kept.groups, training_data.gains_n[kept_n], training_data.ideal_dcg_G(config.k), config.k)
    # a query's weights are divided by their sum, which is the same for all its candidates: no order hangs on it
    columns_Rn = np.where(counts_Rn, normal_Rn, 0.0)[able_R]
    shares, _ = best_shares(columns_Rn, lists, grid_points(len(columns_Rn), config.num_steps))
    weights_R = np.zeros(len(able_R))
    weights_R[able_R] = shares
    found = replace(spec, weights=dict(zip(kept.retrievers, weights_R.tolist(), strict=True)))
    return found, training_data.mean_ndcg(fuse_batch(found, training_data.batch), config.k)
