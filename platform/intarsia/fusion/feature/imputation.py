"""What stands in for a missing vector: nothing, the mean, the nearest by the other modality, what it is bought with, a generator's guess.

Every imputer reads one modality that is there (its name: present) to fill another that may not be. Which one helps, if any, is measured
by `pipelines/compare_fusions`. Letters: N products, D width of the present modality, E of the missing one, P pairs, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from intarsia.maths.arrays import Bools, Float32s
from intarsia.maths.unit_vectors import unit_vectors

_AT_ONCE = 1024  # products compared with all others at a time: bounds memory at about 60 MB for 15,000 products
_LARGEST_BASKET = 50  # pairs grow with the square; a longer basket is a robot's, or a wholesaler's


class Imputer(Protocol):
    """Fills what is missing; never changes what is there."""

    def __call__(self, present_ND: Float32s, missing_NE: Float32s, has_N: Bools) -> Float32s:
        """The vectors with the gaps filled.

        Args:
            present_ND: unit rows of the modality that is read; zeros where it is missing, too.
            missing_NE: unit rows of the modality that is filled; whatever stands where `has_N` is false is not read.
            has_N: which rows of `missing_NE` are there.

        Returns:
            float32 [N, E], unit rows; a row that could not be filled is zeros.
        """
        ...


def zero(present_ND: Float32s, missing_NE: Float32s, has_N: Bools) -> Float32s:
    """Nothing: what is missing is zeros, and stays marked as missing."""
    return np.where(has_N[:, None], missing_NE, np.float32(0.0))


def mean(present_ND: Float32s, missing_NE: Float32s, has_N: Bools) -> Float32s:
    """The mean of the products that have one: the same for all, so it tells none of them apart."""
    filled_NE = zero(present_ND, missing_NE, has_N)
    if has_N.any():
        filled_NE[~has_N] = _unit(missing_NE[has_N].mean(axis=0, dtype=np.float64)[None])[0]
    return filled_NE


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The weighted mean of the K products that are nearest by the present modality, of those that have both.

    Attributes:
        num_neighbours: K; fewer where fewer have both.
        temperature: weights are softmax(cosine / temperature); small listens to the nearest alone.

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
        """See `Imputer`; a product without the present modality either stays zeros."""
        filled_NE = zero(present_ND, missing_NE, has_N)
        readable_N = (present_ND != 0).any(axis=1)
        known, wanted = np.flatnonzero(has_N & readable_N), np.flatnonzero(~has_N & readable_N)
        num = min(self.num_neighbours, len(known))
        if not num:
            return filled_NE
        known_KD, known_KE = present_ND[known], missing_NE[known]
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            cosines_sK = present_ND[some] @ known_KD.T
            nearest_sk = np.argpartition(-cosines_sK, num - 1, axis=1)[:, :num]
            near_sk = np.take_along_axis(cosines_sK, nearest_sk, axis=1).astype(np.float64) / self.temperature
            weights_sk = np.exp(near_sk - near_sk.max(axis=1, keepdims=True))
            filled_NE[some] = _unit(np.einsum("sk,ske->se", weights_sk, known_KE[nearest_sk]))
        return filled_NE


@dataclass(frozen=True, slots=True, kw_only=True)
class BoughtTogether:
    """The mean of the products that were bought together with it, weighted by how often; without any, `otherwise`.

    Attributes:
        pairs_P2: int64, two product rows each, the smaller first; see `pairs_bought_together`.
        counts_P: float64, how often.
        otherwise: fills the products without a companion that has one.
    """

    pairs_P2: NDArray[np.int64]
    counts_P: NDArray[np.float64]
    otherwise: Imputer = mean

    def __call__(self, present_ND: Float32s, missing_NE: Float32s, has_N: Bools) -> Float32s:
        """See `Imputer`."""
        sums_NE = np.zeros(missing_NE.shape)
        known_NE = zero(present_ND, missing_NE, has_N)
        for into, of in ((0, 1), (1, 0)):
            np.add.at(sums_NE, self.pairs_P2[:, into], self.counts_P[:, None] * known_NE[self.pairs_P2[:, of]])
        filled_NE = self.otherwise(present_ND, missing_NE, has_N)
        accompanied_N = ~has_N & (sums_NE != 0).any(axis=1)
        filled_NE[accompanied_N] = _unit(sums_NE[accompanied_N])
        return filled_NE


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What a generator makes of the present modality: float32 [n, D] -> [n, E], as the adversarial fuser learns one."""

    generate: Callable[[Float32s], Float32s]

    def __call__(self, present_ND: Float32s, missing_NE: Float32s, has_N: Bools) -> Float32s:
        """See `Imputer`; a product without the present modality either stays zeros.

        Raises:
            ValueError: the generator makes vectors of another width.
        """
        filled_NE = zero(present_ND, missing_NE, has_N)
        wanted = np.flatnonzero(~has_N & (present_ND != 0).any(axis=1))
        if len(wanted):
            made_nE = self.generate(present_ND[wanted])
            if made_nE.shape != filled_NE[wanted].shape:
                raise ValueError(
                    f"the generator made {made_nE.shape} for {len(wanted)} products of width {missing_NE.shape[1]}; "
                    "it was trained for another image encoder"
                )
            filled_NE[wanted] = _unit(made_nE)
        return filled_NE


def pairs_bought_together(baskets: Iterable[Iterable[int]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Every pair of product rows that some basket holds, and how many do: int64 [P, 2], float64 [P], pairs ascending.

    A basket of more than 50 products is left out: it joins everything with everything.
    """
    counts: dict[tuple[int, int], int] = {}
    for basket in baskets:
        rows = sorted(set(basket))
        if len(rows) > _LARGEST_BASKET:
            continue
        for at, first in enumerate(rows):
            for second in rows[at + 1 :]:
                counts[first, second] = counts.get((first, second), 0) + 1
    pairs = sorted(counts)
    return np.array(pairs, np.int64).reshape(-1, 2), np.array([counts[pair] for pair in pairs], np.float64)


def _unit(vectors_nE: NDArray[np.floating]) -> Float32s:
    return unit_vectors(vectors_nE.astype(np.float64)).astype(np.float32)
