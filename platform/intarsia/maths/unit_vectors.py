"""Scaling vectors to length 1. Letter: D width."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from intarsia.maths.arrays import Float32s, Floats

FloatT = TypeVar("FloatT", bound=np.floating)


def unit_vectors(vectors: NDArray[FloatT]) -> NDArray[FloatT]:
    """Divide each vector by its Euclidean length.

    Args:
        vectors: floats [..., D]; the last axis is the vector.

    Returns:
        The same shape and dtype; a vector of length 0 stays zeros. The bits of a result depend on its own vector alone.

    >>> unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    lengths = np.sqrt(np.vecdot(vectors, vectors))[..., np.newaxis]
    unit: NDArray[FloatT] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit


def direction_of(sum_D: Floats) -> Float32s | None:
    """The unit vector in the direction of a sum or mean, float32 [D]; None if its length is 0.

    >>> direction_of(np.array([0.0, -2.0])).tolist()
    [0.0, -1.0]
    """
    unit_D = unit_vectors(sum_D)
    return unit_D.astype(np.float32) if unit_D.any() else None
