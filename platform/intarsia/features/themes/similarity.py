"""Nearness to what the best fused candidates look and read like, and to what the query's words do in this catalog.

Nearness to the query itself is `retrieval.py`'s matter.
"""

from __future__ import annotations

from collections.abc import Iterator

from intarsia.features.definition import Feature, feature
from intarsia.maths.arrays import Floats


def similarity_features(spaces: tuple[str, ...]) -> Iterator[Feature]:
    """Two per vector space."""
    for space in spaces:
        yield from (_feedback(space), _words(space))


def _feedback(space: str) -> Feature:
    @feature(name=f"{space}_feedback", version=1, reads=(f"feedback_{space}",))
    def feedback(similarity: Floats) -> Floats:
        """Cosine to the mean of the best fused candidates (itself left out); NaN without a vector."""
        return similarity

    return feedback


def _words(space: str) -> Feature:
    @feature(name=f"{space}_words", version=1, reads=(f"words_{space}",))
    def words(likeness: Floats) -> Floats:
        """Cosine to the vector that the query's words foretell, less the mean product's; NaN without a vector or a learned word."""
        return likeness

    return words
