"""Fusion as a spec says it, of one query or of whole batches: the depth cut, the weights of each query, then the kind's own arithmetic.

Kinds that are fitted have files of their own; `registry.py` knows all.

Letters: n candidates of all queries, G queries, R retrievers.
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
from intarsia.fusion.score.comb_sum_mnz import fuse_comb_mnz, fuse_comb_sum
from intarsia.fusion.score.convex import fuse_convex
from intarsia.fusion.score.reciprocal_rank import fuse_reciprocal_rank
from intarsia.fusion.spec import FusionKind, FusionSpec
from intarsia.maths.arrays import Floats
from intarsia.names import IMAGE_RETRIEVERS
from intarsia.records.candidates import Candidates

FuseKind = Callable[[FusionSpec, CandidateBatch, Floats], Floats]
"""(spec, candidates within depth, weights_RG) -> fused float64 [n]."""

SPEC_KINDS: Mapping[FusionKind, FuseKind] = {
    "rrf": fuse_reciprocal_rank,
    "convex": fuse_convex,
    "equal": fuse_convex,  # a spec of this kind has no weights, and no weights means all equal
    "comb_sum": fuse_comb_sum,
    "comb_mnz": fuse_comb_mnz,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedBatch:
    """The candidates that stayed, with their fused scores.

    Attributes:
        kept_n: which of the given candidates stayed, bool [n of the given batch].
        batch: those that stayed.
        fused_n: float32 [n of `batch`], higher is better: float32, as orders online are made from float32.
    """

    kept_n: NDArray[np.bool_]
    batch: CandidateBatch
    fused_n: NDArray[np.float32]


class BatchFuser(Protocol):
    """A `Fuser` of scores and ranks alone, which can therefore fuse many queries at once."""

    def fuse(self, candidates: Candidates) -> Candidates:
        """One query's candidates, as `Fuser.fuse`."""
        ...

    def fuse_batch(self, batch: CandidateBatch) -> FusedBatch:
        """Many queries at once; each result is, bit for bit, that of its query alone."""
        ...

    def save(self, folder: Path) -> None:
        """As `Fuser.save`."""
        ...


def fuse_one(fuser: BatchFuser, candidates: Candidates) -> Candidates:
    """One query as a batch of one: what `fuse` of every batch fuser is."""
    fused = fuser.fuse_batch(pack([candidates]))
    return candidates.only(fused.kept_n).with_fused(fused.fused_n)


@dataclass(frozen=True, slots=True)
class SpecFuser:
    """Fuses as its spec says."""

    spec: FusionSpec

    def fuse(self, candidates: Candidates) -> Candidates:
        """The candidates within the spec's depth, with `fused_C` set.

        Raises:
            ReleaseMismatch: the spec has weights, and none for one of these retrievers.
        """
        return fuse_one(self, candidates)

    def fuse_batch(self, batch: CandidateBatch) -> FusedBatch:
        """Many queries at once; see `fuse_batch`."""
        return fuse_batch(self.spec, batch)

    def save(self, folder: Path) -> None:
        """Write the spec."""
        self.spec.save(folder)


def fuse_batch(spec: FusionSpec, batch: CandidateBatch) -> FusedBatch:
    """Fuse many queries at once; each result is, bit for bit, that of its query alone.

    Raises:
        ReleaseMismatch: the spec has weights, and none for one of the batch's retrievers.
    """
    within = batch.cut(spec.depth)
    return fuse_weighted(spec, within, query_weights(spec, within))


def fuse_weighted(spec: FusionSpec, within: CandidateBatch, weights_RG: Floats) -> FusedBatch:
    """Fuse by the spec's kind with each query's own weights, float64 [R, G], whatever weights the spec has.

    Args:
        spec: the kind and its settings.
        within: candidates already cut to the spec's depth.
        weights_RG: 0 or more; who weighs 0 keeps no candidate.
    """
    returned_Rn = (within.ranks_Rn > 0) & (within.groups.spread(weights_RG) > 0)
    kept_n = np.asarray(returned_Rn.any(axis=0))
    kept = within.keep(kept_n)
    fused_n = SPEC_KINDS[spec.kind](spec, kept, weights_RG)
    return FusedBatch(kept_n=kept_n, batch=kept, fused_n=fused_n.astype(np.float32))


def query_weights(spec: FusionSpec, batch: CandidateBatch) -> Floats:
    """Each retriever's weight in each query, float64 [R, G], as the spec gives it for that kind of query; not yet summing to 1.

    Where only retrievers of weight 0 returned anything, all weigh 1.
    """
    weights_RG = np.repeat(_weights_R(spec.weights, batch.retrievers)[:, None], batch.groups.num_groups, axis=1)
    if spec.weights_by_kind:
        kinds_G = query_kinds(batch)
        for kind, weights in spec.weights_by_kind.items():
            weights_RG[:, kinds_G == kind] = _weights_R(weights, batch.retrievers)[:, None]
    returned_RG = batch.groups.any(batch.ranks_Rn > 0)
    unanswered_G = ~((weights_RG > 0) & returned_RG).any(axis=0)
    weights_RG[:, unanswered_G] = 1.0
    return weights_RG


def query_kinds(batch: CandidateBatch) -> NDArray[np.str_]:
    """`text`, `image` or `both` for each query, by which retrievers could score some candidate: str [G]."""
    scored_RG = batch.groups.any(np.isfinite(batch.scores_Rn))
    sees_R = np.array([name in IMAGE_RETRIEVERS for name in batch.retrievers], bool)
    image_G, text_G = scored_RG[sees_R].any(axis=0), scored_RG[~sees_R].any(axis=0)
    return np.where(image_G & text_G, "both", np.where(image_G, "image", "text"))


def _weights_R(weights: Mapping[str, float], retrievers: tuple[str, ...]) -> Floats:
    if not weights:
        return np.ones(len(retrievers))
    unknown = [name for name in retrievers if name not in weights]
    if unknown:
        raise ReleaseMismatch(
            f"the fusion spec has no weight for {', '.join(unknown)}, only for {', '.join(weights)}; "
            "run search_fusion over the release's retrievers"
        )
    return np.array([weights[name] for name in retrievers], np.float64)
