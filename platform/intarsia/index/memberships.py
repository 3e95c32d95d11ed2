"""Which products have which value (brand, category prefix, attribute value …), looked up both ways: value -> products, products -> counts.

Letters: N products, M memberships, G values.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intarsia.records.feature_matrix import Ragged
from intarsia.records.page import FacetValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Memberships:
    """Pairs (value, row), each once, ordered by value and then row.

    Attributes:
        labels: how each value is shown, [G].
        values_of: key of a look-up -> value; values with one key are one value.
        values_M: int32, the value of each pair.
        rows_M: int64, the row of each pair.
        offsets: int64 [G + 1]; the rows of value g are rows_M[offsets[g]:offsets[g + 1]].
    """

    labels: tuple[str, ...]
    values_of: Mapping[Hashable, int]
    values_M: NDArray[np.int32]
    rows_M: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @classmethod
    def of(
        cls, codes: NDArray[np.integer], rows: NDArray[np.integer], labels: Sequence[str], keys: Sequence[Hashable]
    ) -> Memberships:
        """Pairs (code, row), any order, repeats allowed; code i is shown as labels[i] and looked up as keys[i].

        Codes with equal keys become one value, shown as the first of them: a filter cannot tell them apart, so neither may a facet.
        """
        values_of: dict[Hashable, int] = {}
        shown: list[str] = []
        value_of_code = np.empty(len(keys), np.int64)
        for code, key in enumerate(keys):
            if key not in values_of:
                values_of[key] = len(shown)
                shown.append(labels[code])
            value_of_code[code] = values_of[key]
        values = value_of_code[codes]
        order = np.lexsort((rows, values))
        values, rows = values[order], rows[order]
        first = np.ones(len(values), np.bool_)
        first[1:] = (values[1:] != values[:-1]) | (rows[1:] != rows[:-1])
        values, rows = values[first], rows[first]
        return cls(
            labels=tuple(shown),
            values_of=values_of,
            values_M=values.astype(np.int32),
            rows_M=rows.astype(np.int64),
            offsets=np.searchsorted(values, np.arange(len(shown) + 1)).astype(np.int64),
        )

    def having(self, keys: Iterable[Hashable], num_rows: int) -> NDArray[np.bool_]:
        """Bool [N]: the products that have any of the values; an unknown key has no products."""
        mask_N = np.zeros(num_rows, np.bool_)
        for key in keys:
            value = self.values_of.get(key)
            if value is not None:
                mask_N[self.rows_M[self.offsets[value] : self.offsets[value + 1]]] = True
        return mask_N

    def counts(self, mask_N: NDArray[np.bool_]) -> NDArray[np.int64]:
        """int64 [G]: how many products of the mask have each value."""
        return np.bincount(self.values_M[mask_N[self.rows_M]], minlength=len(self.labels))

    def most_frequent(self, mask_N: NDArray[np.bool_], top: int) -> tuple[FacetValue, ...]:
        """The `top` values that most products of the mask have, most frequent first, ties by the order of values; none with count 0."""
        counts_G = self.counts(mask_N)
        order = np.argsort(-counts_G, kind="stable")[:top]
        return tuple(FacetValue(value=self.labels[g], count=int(counts_G[g])) for g in order if counts_G[g])


def pairs_of(lists: Ragged) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """(codes, rows) of a ragged column."""
    return lists.values, np.repeat(np.arange(len(lists)), np.diff(lists.offsets))
