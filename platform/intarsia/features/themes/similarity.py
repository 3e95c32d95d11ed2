"""Similarity to the best fused candidates and to the query's words; for the query itself see `retrieval.py`."""

from __future__ import annotations

from collections.abc import Iterator

from intarsia.features.definition import Feature, feature
from intarsia.maths.arrays import Floats


def similarity_features(spaces: tuple[str, ...]) -> Iterator[Feature]:
    """Two features per vector space."""
    for space in spaces:
        yield from (_feedback(space), _words(space))


def _feedback(space: str) -> Feature:
    @feature(name=f"{space}_feedback", version=1, reads=(f"feedback_{space}",))
    def feedback(similarity: Floats) -> Floats:
        """Cosine to the mean of the best fused candidates, the product itself excluded; NaN without a vector."""
        return similarity

    return feedback


def _words(space: str) -> Feature:
    @feature(name=f"{space}_words", version=1, reads=(f"words_{space}",))
    def words(similarity: Floats) -> Floats:
        """Cosine to the vector predicted from the query words, minus that of the mean product; NaN without one."""
        return similarity

    return words
