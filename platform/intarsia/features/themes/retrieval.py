"""Scores and ranks of the retrievers and the fuser, and scores relative to the other candidates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intarsia.features.definition import Feature, feature
from intarsia.features.ragged import share
from intarsia.maths.arrays import Floats


def retrieval_features(retrievers: tuple[str, ...]) -> Iterator[Feature]:
    """Four features of each retriever and of the fused score, and the number of retrievers."""
    for name in (*retrievers, "fused"):
        yield from _score_family(name)
    yield _num_retrievers(retrievers)


def _score_family(name: str) -> Iterator[Feature]:
    @feature(name=f"{name}_score", version=1, reads=(f"{name}_score",))
    def score(score: Floats) -> Floats:
        """The raw score; NaN if the retriever cannot score the product."""
        return score

    @feature(name=f"{name}_reciprocal_rank", version=1, reads=(f"{name}_rank",))
    def reciprocal_rank(rank: Floats) -> Floats:
        """1 / rank; NaN if the product was not returned."""
        return share(np.ones(len(rank), np.int64), rank.astype(np.int64))

    @feature(name=f"{name}_minmax", version=1, reads=(f"{name}_score", f"{name}_low", f"{name}_high"))
    def minmax(score: Floats, low: Floats, high: Floats) -> Floats:
        """The score scaled from the candidates' lowest (0) to highest (1); 1 if all are equal."""
        scaled: Floats = (score - low) / np.where(high > low, high - low, 1.0)
        return scaled + np.equal(high, low)  # 1 for a single hit; NaN stays NaN

    @feature(name=f"{name}_z", version=1, reads=(f"{name}_score", f"{name}_mean", f"{name}_spread"))
    def z(score: Floats, mean: Floats, spread: Floats) -> Floats:
        """Standard deviations above the candidates' mean; 0 if all are equal."""
        above: Floats = (score - mean) / np.where(spread > 0, spread, 1.0)
        return above

    yield from (score, reciprocal_rank, minmax, z)


def _num_retrievers(retrievers: tuple[str, ...]) -> Feature:
    @feature(version=1, reads=tuple(f"{name}_rank" for name in retrievers))
    def num_retrievers(*ranks: Floats) -> Floats:
        """Number of retrievers that returned the product."""
        return np.asarray(np.sum([rank > 0 for rank in ranks], axis=0), np.float64)

    return num_retrievers
