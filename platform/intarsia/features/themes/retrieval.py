"""What the retrievers and the fuser said: scores as they are, ranks, and scores relative to the page."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intarsia.features.definition import Feature, feature
from intarsia.features.ragged import share
from intarsia.maths.arrays import Floats


def retrieval_features(retrievers: tuple[str, ...]) -> Iterator[Feature]:
    """The family of each retriever, of the fused score, and what they say together."""
    for name in (*retrievers, "fused"):
        yield from _score_family(name)
    yield _num_retrievers(retrievers)


def _score_family(name: str) -> Iterator[Feature]:
    @feature(name=f"{name}_score", version=1, reads=(f"{name}_score",))
    def score(score: Floats) -> Floats:
        """The score as given; NaN where the retriever cannot score the product."""
        return score

    @feature(name=f"{name}_reciprocal_rank", version=1, reads=(f"{name}_rank",))
    def reciprocal_rank(rank: Floats) -> Floats:
        """1 / rank; NaN where the product was not returned."""
        return share(np.ones(len(rank), np.int64), rank.astype(np.int64))

    @feature(name=f"{name}_minmax", version=1, reads=(f"{name}_score", f"{name}_low", f"{name}_high"))
    def minmax(score: Floats, low: Floats, high: Floats) -> Floats:
        """The score between the page's lowest (0) and highest (1); 1 where all are equal, so that a lone hit does not vanish."""
        height: Floats = (score - low) / np.where(high > low, high - low, 1.0)
        return height + np.equal(high, low)  # NaN stays NaN

    @feature(name=f"{name}_z", version=1, reads=(f"{name}_score", f"{name}_mean", f"{name}_spread"))
    def z(score: Floats, mean: Floats, spread: Floats) -> Floats:
        """Standard deviations above the page's mean; 0 where all are equal."""
        above: Floats = (score - mean) / np.where(spread > 0, spread, 1.0)
        return above

    yield from (score, reciprocal_rank, minmax, z)


def _num_retrievers(retrievers: tuple[str, ...]) -> Feature:
    @feature(version=1, reads=tuple(f"{name}_rank" for name in retrievers))
    def num_retrievers(*ranks: Floats) -> Floats:
        """How many retrievers returned the product."""
        return np.asarray(np.sum([rank > 0 for rank in ranks], axis=0), np.float64)

    return num_retrievers
