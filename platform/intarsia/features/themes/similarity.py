"""Nearness to what the best fused candidates look like and read like. Nearness to the query itself is `retrieval.py`'s matter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from intarsia.features.definition import Feature, feature

Array = NDArray[np.float64]


def similarity_features(spaces: tuple[str, ...]) -> Iterator[Feature]:
    """One per vector space."""
    for space in spaces:
        yield _feedback(space)


def _feedback(space: str) -> Feature:
    @feature(name=f"{space}_feedback", version=1, reads=(f"feedback_{space}",))
    def feedback(similarity: Array) -> Array:
        """Cosine to the mean of the best fused candidates (itself left out); NaN without a vector."""
        return similarity

    return feedback
