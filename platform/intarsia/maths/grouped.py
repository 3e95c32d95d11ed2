"""Reductions and top-k within each query of a batch, over flat arrays.

Letters: n candidates of all queries, G queries, R retrievers (or any other rows of values), K positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from intarsia.maths.arrays import Bools, Floats, Ints

ValueT = TypeVar("ValueT", bound=np.generic)

_MOST_PADDING = 4  # times the candidates: beyond it a padded copy costs more than it saves


@dataclass(frozen=True, slots=True)
class Groups:
    """Which entries of a flat array belong to which query: query g has `offsets[g]:offsets[g + 1]`, which may be empty.

    Every result of a query depends on that query's own values alone, bit for bit, whatever else is in the batch.

    >>> groups = Groups(np.array([0, 2, 3]))
    >>> groups.total(np.array([[1.0, 2.0, 5.0]])).tolist()
    [[3.0, 5.0]]
    """

    offsets: Ints

    @property
    def num_groups(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths_G(self) -> Ints:
        """Number of candidates per query, int64 [G]."""
        return np.diff(self.offsets)

    def smallest(self, values_Rn: Floats) -> Floats:
        """Smallest value that is not NaN, [R, G]; NaN if there is none."""
        return self._reduce(np.fmin, values_Rn, np.nan)

    def largest(self, values_Rn: Floats) -> Floats:
        """Largest value that is not NaN, [R, G]; NaN if there is none."""
        return self._reduce(np.fmax, values_Rn, np.nan)

    def total(self, values_Rn: Floats) -> Floats:
        """Sum, [R, G]; 0 for a query without candidates."""
        return self._reduce(np.add, values_Rn, 0.0)

    def mean(self, values_Rn: Floats) -> Floats:
        """Mean of the values that are not NaN, [R, G]; NaN if there is none."""
        known_Rn = ~np.isnan(values_Rn)
        num_RG = self.total(known_Rn.astype(np.float64))
        return np.divide(
            self.total(np.where(known_Rn, values_Rn, 0.0)), num_RG, out=np.full_like(num_RG, np.nan), where=num_RG > 0
        )

    def any(self, flags_Rn: Bools) -> Bools:
        """Whether some candidate of the query has the flag, bool [R, G]."""
        return self._reduce(np.fmax, flags_Rn.astype(np.float64), 0.0) > 0

    def spread(self, values_RG: NDArray[ValueT]) -> NDArray[ValueT]:
        """Repeat each query's value for each of its candidates: [..., G] -> [..., n]."""
        return np.repeat(values_RG, self.lengths_G, axis=-1)

    def top_positions(self, scores_n: NDArray[np.floating], num: int) -> Ints:
        """Flat positions of each query's `num` best candidates, best first: int64 [G, K], -1 behind the last.

        Equal scores keep the order of the array. Where rows ascend within a query, this is the order of
        `records.candidates.best_first`.
        """
        group_n = np.repeat(np.arange(self.num_groups), self.lengths_G)
        exact_n = scores_n.astype(np.float64)
        shortlist_n = self._shortlist(exact_n, group_n, num)
        ordered_n = shortlist_n[np.lexsort((-exact_n[shortlist_n], group_n[shortlist_n]))]  # lexsort is stable
        group_n = group_n[ordered_n]
        first_G = np.searchsorted(group_n, np.arange(self.num_groups))
        rank_n = np.arange(len(ordered_n)) - first_G[group_n]
        positions_GK = np.full((self.num_groups, num), -1, np.int64)
        shown_n = rank_n < num
        positions_GK[group_n[shown_n], rank_n[shown_n]] = ordered_n[shown_n]
        return positions_GK

    def _shortlist(self, scores_n: Floats, group_n: Ints, num: int) -> Ints:
        """Positions of all candidates not below their query's num-th best score: sorting only these is much faster."""
        longest = int(self.lengths_G.max(initial=0))
        if longest <= 2 * num or self.num_groups * longest > _MOST_PADDING * len(scores_n):
            return np.arange(len(scores_n))
        padded_GC = np.full((self.num_groups, longest), -np.inf)
        padded_GC[group_n, np.arange(len(scores_n)) - self.offsets[group_n]] = scores_n
        least_G = np.partition(padded_GC, longest - num, axis=1)[:, longest - num]
        return np.flatnonzero(scores_n >= least_G[group_n])

    def _reduce(self, ufunc: np.ufunc, values_Rn: Floats, empty: float) -> Floats:
        reduced_RG = np.full((len(values_Rn), self.num_groups), empty)
        filled_G = self.lengths_G > 0  # reduceat cannot reduce an empty group
        if filled_G.any():
            reduced_RG[:, filled_G] = ufunc.reduceat(values_Rn, self.offsets[:-1][filled_G], axis=1)
        return reduced_RG
