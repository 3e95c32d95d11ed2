"""Where a fit starts: one space in which a product's picture already lies near its own text, by two closed formulas.

Texts go to their principal directions, as cosines of the first few dozen keep most of what cosines say; pictures go, by ridge regression,
to where their products' texts lie. So all kinds start from the same, useful place, and seconds of learning are enough.

Letters: n products that count, D text width, E image width, H width of the common space.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intarsia.fusion.feature.arrays import Arrays
from intarsia.maths.arrays import Floats
from intarsia.maths.unit_vectors import unit_vectors

MAX_PRODUCTS = 50_000
"""Products that are read, evenly spread over the catalog; more hardly turn a direction, and would be copied in full precision."""

_RIDGE = 1e-3  # of the mean square of a picture's number: keeps the formula solvable, and hardly bends it


def start_projections(products: Arrays, width: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Projections of texts [D, H] and pictures [E, H].

    Where too few products have a modality (or both) for a formula, the directions are random and of unit length.

    Source: Pearson 1901 (principal components, not centred); Hoerl and Kennard 1970 (ridge). doi:10.1080/00401706.1970.10488634
    """
    step = max(1, -(-len(products.has) // MAX_PRODUCTS))
    some = Arrays(products.text[::step], products.image[::step], products.has[::step])
    text_DH = _principal(some.text[some.has[:, 0]], width, rng)
    both_n = some.has.all(axis=1)
    image_EH = _ridge(some.image[both_n], some.text[both_n] @ text_DH, rng)
    return text_DH, image_EH


def _principal(vectors_nD: NDArray[np.float32], width: int, rng: np.random.Generator) -> Floats:
    """The `width` directions [D, H] along which the vectors are longest; random ones after all that the vectors have."""
    directions_DH = _random(vectors_nD.shape[1], width, rng)
    second_DD = vectors_nD.T.astype(np.float64) @ vectors_nD
    lengths_D, axes_DD = np.linalg.eigh(second_DD)
    known = min(width, int(np.count_nonzero(lengths_D > lengths_D.max(initial=0.0) * 1e-9)))
    directions_DH[:, :known] = axes_DD[:, ::-1][:, :known]
    return directions_DH


def _ridge(vectors_nE: NDArray[np.float32], targets_nH: Floats, rng: np.random.Generator) -> Floats:
    """The map [E, H] that takes vectors nearest to targets."""
    num, dim = vectors_nE.shape
    if num < 2:
        return _random(dim, targets_nH.shape[1], rng)
    exact_nE = vectors_nE.astype(np.float64)
    second_EE = exact_nE.T @ exact_nE
    penalty = _RIDGE * np.trace(second_EE) / dim + np.finfo(np.float64).tiny
    solved: Floats = np.linalg.solve(second_EE + penalty * np.eye(dim), exact_nE.T @ targets_nH)
    return solved


def _random(num: int, width: int, rng: np.random.Generator) -> Floats:
    directions = rng.normal(size=(num, width))
    return unit_vectors(directions.T).T
