"""Inputs of features (`CandidateFrame`) and of rankers (`FeatureMatrix`).

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
    """A list of int32 codes of any length per row; the list of row i is `values[offsets[i]:offsets[i + 1]]`."""

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
        """The lists of `rows`, in that order."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        indices = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Ragged(self.values[indices], offsets)


Column = NDArray[np.generic] | Ragged


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFrame:
    """Named columns of n candidate rows, grouped by query: rows of query g are `group_offsets[g]:group_offsets[g + 1]`.

    A column is an array [n, ...] or a `Ragged` of n lists. Values of the query are repeated on each of its rows.
    """

    columns: Mapping[str, Column]
    group_offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            assert len(column) == self.num_rows, f"column {name} has {len(column)} rows of {self.num_rows}"

    @property
    def num_rows(self) -> int:
        return int(self.group_offsets[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMatrix:
    """Feature values float32 [n, F], NaN where missing, with column names and the fingerprint of the feature set."""

    values_nF: NDArray[np.float32]
    names: tuple[str, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        assert self.values_nF.dtype == np.float32
        assert self.values_nF.shape[1] == len(self.names)
        self.values_nF.setflags(write=False)


DIGEST_BYTES = 8


def matrix_digest(fingerprint: str, rows_C: NDArray[np.int64], values_CF: NDArray[np.float32]) -> bytes:
    """Digest of a ranker's input for one query: equal when fingerprint, rows and all cells are equal bit by bit.

    Args:
        fingerprint: fingerprint of the feature set, which covers names and order of the columns.
        rows_C: row numbers of the candidates, ascending as in `Candidates`.
        values_CF: float32 [C, F], features; all NaNs are equal, since the bits of a NaN depend on the processor.

    Returns:
        8 bytes: blake2b over fingerprint, shape, rows (little-endian int64) and cells (little-endian float32, row by
        row).
    """
    assert values_CF.dtype == np.float32 and values_CF.shape[0] == len(rows_C)
    cells = np.where(np.isnan(values_CF), np.float32(np.nan), values_CF)
    digest = hashlib.blake2b(f"{fingerprint}\0{values_CF.shape}\0".encode(), digest_size=DIGEST_BYTES)
    digest.update(np.ascontiguousarray(rows_C, "<i8").data)
    digest.update(np.ascontiguousarray(cells, "<f4").data)
    return digest.digest()
