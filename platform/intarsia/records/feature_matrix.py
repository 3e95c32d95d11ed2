"""All a feature may read (CandidateFrame), and all a ranker may read (FeatureMatrix).

Letters: n rows of all queries of a batch, G queries, F features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Ragged:
    """One variable-length list of int32 codes per row: `values[offsets[i]:offsets[i + 1]]` is row i's."""

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        assert self.offsets.ndim == 1
        assert self.offsets[0] == 0
        assert self.offsets[-1] == len(self.values)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, i: int) -> NDArray[np.int32]:
        """The codes of row i."""
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def take(self, rows: NDArray[np.int64]) -> Ragged:
        """The lists of some rows, in that order."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        at = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Ragged(self.values[at], offsets)


Column = NDArray[np.generic] | Ragged


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFrame:
    """Named columns of n candidate rows, grouped by query: rows of query g are `group_offsets[g]:group_offsets[g + 1]`.

    A column is an array [n, …] or Ragged of n lists; what belongs to the query is repeated on each of its rows.
    """

    columns: Mapping[str, Column]
    group_offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            assert len(column) == self.num_rows, f"column {name} has {len(column)} rows of {self.num_rows}"

    @property
    def num_rows(self) -> int:
        """N."""
        return int(self.group_offsets[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMatrix:
    """float32 [n, F] with the names of its columns and the fingerprint of the feature set that made it; NaN is the only "missing"."""

    values_nF: NDArray[np.float32]
    names: tuple[str, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        assert self.values_nF.dtype == np.float32
        assert self.values_nF.shape[1] == len(self.names)
        self.values_nF.setflags(write=False)


DIGEST_BYTES = 8


def matrix_digest(fingerprint: str, rows_C: NDArray[np.int64], values_CF: NDArray[np.float32]) -> bytes:
    """What a ranker was given for one query, in 8 bytes: two digests are equal when fingerprint, rows and every cell are, to the bit.

    Args:
        fingerprint: of the feature set, so of the names and order of the columns.
        rows_C: row numbers of the candidates, ascending as in `Candidates`.
        values_CF: their features; every NaN counts as the same one, since which bits a "missing" has is the processor's choice.

    Returns:
        blake2b over fingerprint, shape, rows (little-endian int64) and cells (little-endian float32, row by row).
    """
    assert values_CF.dtype == np.float32 and values_CF.shape[0] == len(rows_C)
    cells = np.where(np.isnan(values_CF), np.float32(np.nan), values_CF)
    digest = hashlib.blake2b(f"{fingerprint}\0{values_CF.shape}\0".encode(), digest_size=DIGEST_BYTES)
    digest.update(np.ascontiguousarray(rows_C, "<i8").data)
    digest.update(np.ascontiguousarray(cells, "<f4").data)
    return digest.digest()
