"""Fusers of scores and ranks: the interface `BatchFuser`, and `SpecFuser`, which fuses by a `FusionSpec`.

A `SpecFuser` cuts the candidates at the spec's depth, finds the weights of each query, and calls the function of the
spec's method.

Shapes: n candidates of all queries, G queries, R retrievers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import ReleaseMismatch
from intarsia.fusion.batch import CandidateBatch, pack
from intarsia.fusion.protocol import Fuser
from intarsia.fusion.score.comb_sum_mnz import fuse_comb_mnz, fuse_comb_sum
from intarsia.fusion.score.convex import fuse_convex
from intarsia.fusion.score.reciprocal_rank import fuse_reciprocal_rank
from intarsia.fusion.spec import FusionSpec, SpecMethodName
from intarsia.maths.arrays import Floats
from intarsia.names import IMAGE_RETRIEVERS
from intarsia.records.candidates import Candidates

SpecFunction = Callable[[FusionSpec, CandidateBatch, Floats], Floats]
"""(spec, candidates within depth, weights_RG) -> fused scores, float64 [n]."""

SPEC_METHODS: Mapping[SpecMethodName, SpecFunction] = {
    "rrf": fuse_reciprocal_rank,
    "convex": fuse_convex,
    "equal": fuse_convex,  # a spec of kind equal has no weights, and no weights means equal weights
    "comb_sum": fuse_comb_sum,
    "comb_mnz": fuse_comb_mnz,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedBatch:
    """The candidates that a fuser kept, with their fused scores.

    Attributes:
        kept_n: bool, one per candidate of the input batch: whether it was kept.
        batch: the kept candidates.
        fused_n: float32, one per kept candidate; higher is better. float32, as in a single query, so that both give the
            same order.
    """

    kept_n: NDArray[np.bool_]
    batch: CandidateBatch
    fused_n: NDArray[np.float32]


class BatchFuser(Fuser, Protocol):
    """A fuser that reads scores and ranks only, and can therefore fuse many queries at once."""

    def fuse_batch(self, batch: CandidateBatch) -> FusedBatch:
        """Fuse many queries at once; the scores of each query have the same bits as when it is fused on its own."""
        ...


def fuse_one(fuser: BatchFuser, candidates: Candidates) -> Candidates:
    """Fuse one query as a batch of one: the implementation of `fuse` for every batch fuser."""
    fused = fuser.fuse_batch(pack([candidates]))
    return candidates.only(fused.kept_n).with_fused(fused.fused_n)


@dataclass(frozen=True, slots=True)
class SpecFuser:
    """Fuses by a `FusionSpec`.

    >>> candidates = Candidates(
    ...     release_id="r-1", rows_C=np.array([3, 8]), retrievers=("bm25", "text"), views_C=np.zeros(2, np.int32),
    ...     scores_CR=np.array([[9.0, 0.2], [4.0, 0.9]], np.float32), ranks_CR=np.array([[1, 2], [2, 1]], np.int32),
    ... )
    >>> spec = FusionSpec(kind="convex", weights={"bm25": 0.25, "text": 0.75})
    >>> SpecFuser(spec).fuse(candidates).fused_C.tolist()
    [0.25, 0.75]
    """

    spec: FusionSpec

    def fuse(self, candidates: Candidates) -> Candidates:
        """Return the candidates within the spec's depth, with `fused_C` set.

        Raises:
            ReleaseMismatch: the spec has weights, and none for one of these retrievers.
        """
        return fuse_one(self, candidates)

    def fuse_batch(self, batch: CandidateBatch) -> FusedBatch:
        return fuse_batch(self.spec, batch)

    def save(self, folder: Path) -> None:
        self.spec.save(folder)


def fuse_batch(spec: FusionSpec, batch: CandidateBatch) -> FusedBatch:
    """Fuse many queries by a spec.

    Raises:
        ReleaseMismatch: the spec has weights, and none for one of the batch's retrievers.
    """
    within = batch.cut(spec.depth)
    return fuse_with_weights(spec, within, query_weights(spec, within))


def fuse_with_weights(spec: FusionSpec, within: CandidateBatch, weights_RG: Floats) -> FusedBatch:
    """Fuse by the spec's method with weights per query, in place of the spec's weights.

    Args:
        spec: the method and its other parameters.
        within: candidates that are already cut to the spec's depth.
        weights_RG: float64 [R, G], 0 or more; a retriever of weight 0 keeps no candidate.
    """
    returned_Rn = (within.ranks_Rn > 0) & (within.groups.spread(weights_RG) > 0)
    kept_n = np.asarray(returned_Rn.any(axis=0))
    kept = within.keep(kept_n)
    fused_n = SPEC_METHODS[spec.kind](spec, kept, weights_RG)
    return FusedBatch(kept_n=kept_n, batch=kept, fused_n=fused_n.astype(np.float32))


def query_weights(spec: FusionSpec, batch: CandidateBatch) -> Floats:
    """Return the weights that a spec gives to each query, by its kind: float64 [R, G]. They are not normalised.

    Where only retrievers of weight 0 returned anything, all weights are 1.
    """
    weights_RG = np.repeat(_weights_R(spec.weights, batch.retrievers)[:, None], batch.groups.num_groups, axis=1)
    if spec.weights_by_kind:
        kinds_G = query_kinds(batch)
        for query_kind, weights in spec.weights_by_kind.items():
            weights_RG[:, kinds_G == query_kind] = _weights_R(weights, batch.retrievers)[:, None]
    returned_RG = batch.groups.any(batch.ranks_Rn > 0)
    unanswered_G = ~((weights_RG > 0) & returned_RG).any(axis=0)
    weights_RG[:, unanswered_G] = 1.0
    return weights_RG


def query_kinds(batch: CandidateBatch) -> NDArray[np.str_]:
    """Return `text`, `image` or `both` for each query, from which retrievers could score some candidate: str [G]."""
    scored_RG = batch.groups.any(np.isfinite(batch.scores_Rn))
    reads_image_R = np.array([name in IMAGE_RETRIEVERS for name in batch.retrievers], bool)
    image_G, text_G = scored_RG[reads_image_R].any(axis=0), scored_RG[~reads_image_R].any(axis=0)
    return np.where(image_G & text_G, "both", np.where(image_G, "image", "text"))


def _weights_R(weights: Mapping[str, float], retrievers: tuple[str, ...]) -> Floats:
    if not weights:
        return np.ones(len(retrievers))
    unknown = [name for name in retrievers if name not in weights]
    if unknown:
        raise ReleaseMismatch(
            f"the fusion spec has no weight for {', '.join(unknown)}, only for {', '.join(weights)}. "
            "Fix: run search_fusion over the release's retrievers"
        )
    return np.array([weights[name] for name in retrievers], np.float64)
