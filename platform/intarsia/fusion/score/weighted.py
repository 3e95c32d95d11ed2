"""Weighted fusion: finds the weights of a convex fusion that rank the train queries best.

The result is a `FusionSpec` of kind convex: it is saved, opened and served as one. `pipelines/search_fusion.py`
searches more settings, in parallel trials. Shapes: R retrievers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from intarsia.config import check_range, setting
from intarsia.fusion.fuser import SpecFuser, fuse_batch
from intarsia.fusion.protocol import FusionTrainingData
from intarsia.fusion.score.column_weights import ascend_ndcg, grid_points
from intarsia.fusion.score.convex import normalised_scores
from intarsia.fusion.spec import FusionSpec, NormaliserName
from intarsia.fusion.training_data import ListGains, PackedTrainingData, check_training_data


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedConfig:
    """How the weights are searched."""

    kind: Literal["weighted"] = setting("the fusion method", "weighted")
    normalisers: tuple[NormaliserName, ...] = setting(
        "tried one after another; the validation queries choose", ("min_max", "theoretical_min_max", "z"), advanced=True
    )
    num_steps: int = setting(
        "the search starts from all weights in steps of 1 / num_steps, then tries finer steps around the best",
        5,
        advanced=True,
    )
    depth: int = setting("ranks below this depth count as not returned", 1000, advanced=True)
    k: int = setting("the search maximises nDCG@k of the train queries", 10, advanced=True)

    def __post_init__(self) -> None:
        if not self.normalisers:
            raise ValueError("normalisers are empty; allowed: one or more")
        check_range(self, "num_steps", "depth", "k", low=1)


def fit_weighted(
    config: WeightedConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int
) -> SpecFuser:
    """Find the best weights on train for each normaliser; the validation queries choose the normaliser.

    Args:
        config: settings of the search.
        train: chooses the weights.
        validation: chooses the normaliser; if it has no queries, train does.
        seed: not used; the search is deterministic.

    Raises:
        DataError: no candidate of a train query is relevant.
    """
    check_training_data("train", train)
    packed_train, packed_validation = PackedTrainingData.of(train), PackedTrainingData.of(validation)
    fits = [
        best_weights(FusionSpec(kind="convex", normaliser=name, depth=config.depth), packed_train, config)
        for name in config.normalisers
    ]
    ndcgs = [
        (
            packed_validation.mean_ndcg(fuse_batch(spec, packed_validation.batch), config.k)
            if validation.query_ids
            else 0.0,
            train_ndcg,
        )
        for spec, train_ndcg in fits
    ]
    best = max(range(len(fits)), key=lambda at: ndcgs[at])  # the first one wins ties
    return SpecFuser(fits[best][0])


def best_weights(
    spec: FusionSpec, training_data: PackedTrainingData, config: WeightedConfig
) -> tuple[FusionSpec, float]:
    """Return the spec with the best weights on some queries, and its nDCG@k there.

    During the search, retrievers of weight 0 keep their candidates; the returned nDCG is that of the final fuser, which
    drops them.
    """
    within = training_data.batch.cut(spec.depth)
    kept_n = np.asarray((within.ranks_Rn > 0).any(axis=0))
    kept = within.keep(kept_n)
    normal_Rn, counted_Rn = normalised_scores(spec, kept)
    scores_something_R = np.asarray(counted_Rn.any(axis=1))
    lists = ListGains(kept.groups, training_data.gains_n[kept_n], training_data.ideal_dcg_G(config.k), config.k)
    # fuse_convex also divides by the sum of the query's weights, which does not change the order of its candidates
    columns_Rn = np.where(counted_Rn, normal_Rn, 0.0)[scores_something_R]
    column_weights, _ = ascend_ndcg(columns_Rn, lists, grid_points(len(columns_Rn), config.num_steps))
    weights_R = np.zeros(len(scores_something_R))
    weights_R[scores_something_R] = column_weights
    fitted = replace(spec, weights=dict(zip(kept.retrievers, weights_R.tolist(), strict=True)))
    return fitted, training_data.mean_ndcg(fuse_batch(fitted, training_data.batch), config.k)
