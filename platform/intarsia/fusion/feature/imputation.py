"""Imputers: they fill in the missing vectors of one modality, from a modality that is present.

There are: zeros (no imputation), the mean, the nearest neighbours by the present modality, products bought together,
and a generator. `pipelines/compare_fusions.py` measures which of them helps.

Shapes: N products, D width of the present modality, E width of the missing one, P pairs, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from intarsia.maths.arrays import Bools, Float32s, Floats, Ints
from intarsia.maths.unit_vectors import unit_vectors

_PRODUCTS_PER_CHUNK = 1024  # compared with all others at a time: about 60 MB for 15,000 products
_MAX_BASKET = 50  # the number of pairs is quadratic; a longer basket belongs to a bot or a reseller


class Imputer(Protocol):
    """Fills in missing vectors; never changes existing ones."""

    def __call__(self, present_ND: Float32s, missing_NE: Float32s, has_N: Bools) -> Float32s:
        """Return the vectors with the gaps filled.

        Args:
            present_ND: unit rows of the present modality; zeros where it is missing, too.
            missing_NE: unit rows of the modality that is filled in; rows where `has_N` is false are not read.
            has_N: which rows of `missing_NE` exist.

        Returns:
            float32 [N, E], unit rows; a row that could not be filled in is zeros.
        """
        ...


def impute_zeros(present_ND: Float32s, missing_NE: Float32s, has_N: Bools) -> Float32s:
    """No imputation: a missing vector is zeros, and stays marked as missing."""
    return np.where(has_N[:, None], missing_NE, np.float32(0.0))


def impute_mean(present_ND: Float32s, missing_NE: Float32s, has_N: Bools) -> Float32s:
    """Fill in the mean of the existing vectors; it is the same for all products."""
    filled_NE = impute_zeros(present_ND, missing_NE, has_N)
    if has_N.any():
        filled_NE[~has_N] = _unit_rows(missing_NE[has_N].mean(axis=0, dtype=np.float64)[None])[0]
    return filled_NE


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourImputer:
    """Fills in the weighted mean of the K products that are nearest by the present modality.

    Only products with both modalities are neighbours. A product without the present modality keeps zeros.

    Attributes:
        num_neighbours: K; fewer if fewer products have both modalities.
        temperature: weights are softmax(cosine / temperature); a small value weighs the nearest most.

    Source: k-nearest-neighbour imputation, Troyanskaya et al., Bioinformatics 2001. doi:10.1093/bioinformatics/17.6.520
    """

    num_neighbours: int = 10
    temperature: float = 0.05

    def __post_init__(self) -> None:
        if self.num_neighbours < 1 or not self.temperature > 0:
            raise ValueError(
                f"{self.num_neighbours} neighbours at temperature {self.temperature}; allowed: 1 or more, and above 0"
            )

    def __call__(self, present_ND: Float32s, missing_NE: Float32s, has_N: Bools) -> Float32s:
        filled_NE = impute_zeros(present_ND, missing_NE, has_N)
        is_present_N = (present_ND != 0).any(axis=1)
        known, gaps = np.flatnonzero(has_N & is_present_N), np.flatnonzero(~has_N & is_present_N)
        num = min(self.num_neighbours, len(known))
        if not num:
            return filled_NE
        known_KD, known_KE = present_ND[known], missing_NE[known]
        for start in range(0, len(gaps), _PRODUCTS_PER_CHUNK):
            chunk = gaps[start : start + _PRODUCTS_PER_CHUNK]
            cosines_sK = present_ND[chunk] @ known_KD.T
            nearest_sk = np.argpartition(-cosines_sK, num - 1, axis=1)[:, :num]
            logits_sk = np.take_along_axis(cosines_sK, nearest_sk, axis=1).astype(np.float64) / self.temperature
            weights_sk = np.exp(logits_sk - logits_sk.max(axis=1, keepdims=True))
            filled_NE[chunk] = _unit_rows(np.einsum("sk,ske->se", weights_sk, known_KE[nearest_sk]))
        return filled_NE


@dataclass(frozen=True, slots=True, kw_only=True)
class CoPurchaseImputer:
    """Fills in the mean of the products that were bought together with the product, weighted by the number of baskets.

    Attributes:
        pairs_P2: int64, pairs of product rows, the smaller first; see `co_purchase_pairs`.
        counts_P: float64, number of baskets with each pair.
        fallback: fills in the products that were bought together with no product that has a vector.
    """

    pairs_P2: Ints
    counts_P: Floats
    fallback: Imputer = impute_mean

    def __call__(self, present_ND: Float32s, missing_NE: Float32s, has_N: Bools) -> Float32s:
        sums_NE = np.zeros(missing_NE.shape)
        known_NE = impute_zeros(present_ND, missing_NE, has_N)
        for target, source in ((0, 1), (1, 0)):
            np.add.at(sums_NE, self.pairs_P2[:, target], self.counts_P[:, None] * known_NE[self.pairs_P2[:, source]])
        filled_NE = self.fallback(present_ND, missing_NE, has_N)
        bought_together_N = ~has_N & (sums_NE != 0).any(axis=1)
        filled_NE[bought_together_N] = _unit_rows(sums_NE[bought_together_N])
        return filled_NE


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorImputer:
    """Fills in what a generator makes of the present modality. A product without the present modality keeps zeros.

    Attributes:
        generate: float32 [n, D] -> [n, E], such as `FeatureScorer.generate_images` of the method `adversarial`.
    """

    generate: Callable[[Float32s], Float32s]

    def __call__(self, present_ND: Float32s, missing_NE: Float32s, has_N: Bools) -> Float32s:
        """See `Imputer`.

        Raises:
            ValueError: the generator makes vectors of another width.
        """
        filled_NE = impute_zeros(present_ND, missing_NE, has_N)
        gaps = np.flatnonzero(~has_N & (present_ND != 0).any(axis=1))
        if len(gaps):
            generated_nE = self.generate(present_ND[gaps])
            if generated_nE.shape != filled_NE[gaps].shape:
                raise ValueError(
                    f"the generator made {generated_nE.shape} for {len(gaps)} products of width {missing_NE.shape[1]}; "
                    "it was trained for another image encoder"
                )
            filled_NE[gaps] = _unit_rows(generated_nE)
        return filled_NE


def co_purchase_pairs(baskets: Iterable[Iterable[int]]) -> tuple[Ints, Floats]:
    """Count the baskets in which each pair of product rows occurs: int64 [P, 2] and float64 [P], pairs ascending.

    Baskets of more than 50 products are ignored: they would relate almost every product to every other.

    >>> pairs_P2, counts_P = co_purchase_pairs([[5, 2], [2, 5, 7]])
    >>> pairs_P2.tolist(), counts_P.tolist()
    ([[2, 5], [2, 7], [5, 7]], [2.0, 1.0, 1.0])
    """
    counts: dict[tuple[int, int], int] = {}
    for basket in baskets:
        rows = sorted(set(basket))
        if len(rows) > _MAX_BASKET:
            continue
        for at, first in enumerate(rows):
            for second in rows[at + 1 :]:
                counts[first, second] = counts.get((first, second), 0) + 1
    pairs = sorted(counts)
    return np.array(pairs, np.int64).reshape(-1, 2), np.array([counts[pair] for pair in pairs], np.float64)


def _unit_rows(vectors_nE: NDArray[np.floating]) -> Float32s:
    return unit_vectors(vectors_nE.astype(np.float64)).astype(np.float32)
