"""Arithmetic inside each query of a batch: smallest, largest, sum, over flat arrays. What the numbers mean is the fusion kinds' matter.

Letters: n candidates of all queries, G queries, R retrievers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ValueT = TypeVar("ValueT", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Groups:
    """Candidates of query g are `offsets[g]:offsets[g + 1]`; a query may have none.

    Every result of a query depends on that query's own values alone, bit for bit, whatever else is in the batch.
    """

    offsets: NDArray[np.int64]

    @property
    def num_groups(self) -> int:
        """G."""
        return len(self.offsets) - 1

    @property
    def lengths_G(self) -> NDArray[np.int64]:
        """Candidates per query, int64 [G]."""
        return np.diff(self.offsets)

    def smallest(self, values_Rn: Floats) -> Floats:
        """Smallest value that is not NaN, [R, G]; NaN where there is none."""
        return self._reduce(np.fmin, values_Rn, np.nan)

    def largest(self, values_Rn: Floats) -> Floats:
        """Largest value that is not NaN, [R, G]; NaN where there is none."""
        return self._reduce(np.fmax, values_Rn, np.nan)

    def total(self, values_Rn: Floats) -> Floats:
        """Sum, [R, G]; 0 for a query without candidates."""
        return self._reduce(np.add, values_Rn, 0.0)

    def mean(self, values_Rn: Floats) -> Floats:
        """Mean of the values that are not NaN, [R, G]; NaN where there is none."""
        there_Rn = ~np.isnan(values_Rn)
        num_RG = self.total(there_Rn.astype(np.float64))
        return np.divide(
            self.total(np.where(there_Rn, values_Rn, 0.0)), num_RG, out=np.full_like(num_RG, np.nan), where=num_RG > 0
        )

    def any(self, flags_Rn: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether some candidate has the flag, bool [R, G]."""
        return self._reduce(np.fmax, flags_Rn.astype(np.float64), 0.0) > 0

    def spread(self, values_RG: NDArray[ValueT]) -> NDArray[ValueT]:
        """Each query's value on each of its candidates: [..., G] -> [..., n]."""
        return np.repeat(values_RG, self.lengths_G, axis=-1)

    def _reduce(self, ufunc: np.ufunc, values_Rn: Floats, empty: float) -> Floats:
        reduced_RG = np.full((len(values_Rn), self.num_groups), empty)
        filled_G = self.lengths_G > 0  # reduceat has no notion of an empty group
        if filled_G.any():
            reduced_RG[:, filled_G] = ufunc.reduceat(values_Rn, self.offsets[:-1][filled_G], axis=1)
        return reduced_RG
