"""Definition of a feature, and the ordered feature set, which is the only builder of a `FeatureMatrix`.

Letters: n rows, F features.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import DataError
from intarsia.ids import sha256_json
from intarsia.records.feature_matrix import CandidateFrame, Column, FeatureMatrix

Compute = Callable[..., NDArray[np.generic]]
"""Takes columns, returns one value per row; a row's value depends on that row only, bit for bit."""

MATRIX_DTYPE = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One number per candidate.

    Attributes:
        name: column name in the matrix.
        version: increases with every change of a value; a model trained on another version refuses the new one.
        reads: the frame columns passed to `compute`, in this order.
        compute: the function.
        summary: first line of the function's docstring.
    """

    name: str
    version: int
    reads: tuple[str, ...]
    compute: Compute
    summary: str

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(
                f"feature name is {self.name!r}; allowed: letters, digits and _, not starting with a digit"
            )
        if self.version < 1:
            raise ValueError(f"version of feature {self.name} is {self.version}; allowed: 1 or more")
        if not self.reads:
            raise ValueError(f"feature {self.name} reads no column; allowed: one or more")


def feature(*, version: int, reads: tuple[str, ...], name: str | None = None) -> Callable[[Compute], Feature]:
    """Decorator that turns a pure function of columns into a feature.

    Args:
        version: see `Feature`.
        reads: see `Feature`.
        name: default: the function's name.

    >>> @feature(version=1, reads=("price_minor",))
    ... def has_price(price_minor):
    ...     return ~np.isnan(price_minor)
    >>> has_price.name
    'has_price'
    """

    def declare(compute: Compute) -> Feature:
        summary = (inspect.getdoc(compute) or "").partition("\n")[0]
        return Feature(name=name or compute.__name__, version=version, reads=reads, compute=compute, summary=summary)

    return declare


@dataclass(frozen=True)
class FeatureSet:
    """Features in the order of the matrix columns.

    Attributes:
        features: the features; names must differ.
        frame_version: version of the assembler whose columns they read; part of the fingerprint, because a column that
            is computed in another way changes the features.
    """

    features: tuple[Feature, ...]
    frame_version: int

    def __post_init__(self) -> None:
        names: set[str] = set()
        for member in self.features:
            if member.name in names:
                raise ValueError(f"two features are named {member.name}; allowed: different names")
            names.add(member.name)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names of the matrix."""
        return tuple(member.name for member in self.features)

    @cached_property
    def reads(self) -> frozenset[str]:
        """All frame columns that a feature reads."""
        return frozenset(column for member in self.features for column in member.reads)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of names, versions, reads, order, dtype and frame version."""
        described = [[member.name, member.version, list(member.reads)] for member in self.features]
        return sha256_json({"features": described, "dtype": MATRIX_DTYPE, "frame": self.frame_version})

    def compute(self, frame: CandidateFrame) -> FeatureMatrix:
        """Compute all features of a frame: float32 [n, F].

        Raises:
            DataError: the frame lacks a column that a feature reads.
        """
        values_Fn = np.empty((len(self.features), frame.num_rows), np.float32)
        for f, member in enumerate(self.features):
            values_n = member.compute(*(_column(frame, member, name) for name in member.reads))
            assert values_n.shape == (frame.num_rows,), f"feature {member.name} has shape {values_n.shape}"
            values_Fn[f] = values_n
        return FeatureMatrix(
            values_nF=np.ascontiguousarray(values_Fn.T), names=self.names, fingerprint=self.fingerprint
        )


def _column(frame: CandidateFrame, reader: Feature, name: str) -> Column:
    try:
        return frame.columns[name]
    except KeyError:
        raise DataError(
            table="candidate frame",
            key=f"feature {reader.name}",
            field=name,
            found="no such column",
            allowed=", ".join(sorted(frame.columns)),
            fix="add the column in features/assemble.py, or correct `reads`",
        ) from None
