"""What a feature is, and the ordered set of them: the only builder of a `FeatureMatrix`. Which features there are is `themes/`' matter.

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
"""Columns in, one value per row out; a row's value depends on that row alone, to the bit."""

MATRIX_DTYPE = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One number per candidate: `compute` gets the columns named by `reads`, in that order.

    `version` grows with every change of a value; models trained on another version refuse the new one.
    """

    name: str
    version: int
    reads: tuple[str, ...]
    compute: Compute
    about: str

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(
                f"feature name is {self.name!r}; allowed: letters, digits and _, not beginning with a digit"
            )
        if self.version < 1:
            raise ValueError(f"version of feature {self.name} is {self.version}; allowed: 1 or more")
        if not self.reads:
            raise ValueError(f"feature {self.name} reads no column; allowed: one or more")


def feature(*, version: int, reads: tuple[str, ...], name: str | None = None) -> Callable[[Compute], Feature]:
    """Make a pure function of columns a feature, named as the function unless a family gives each member its own name."""

    def declare(compute: Compute) -> Feature:
        about = (inspect.getdoc(compute) or "").partition("\n")[0]
        return Feature(name=name or compute.__name__, version=version, reads=reads, compute=compute, about=about)

    return declare


@dataclass(frozen=True)
class FeatureSet:
    """Features in the order of a matrix's columns.

    `frame_version` is that of the assembler whose columns they read; it is part of the fingerprint, because a column computed in another
    way is another feature.
    """

    features: tuple[Feature, ...]
    frame_version: int

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for each in self.features:
            if each.name in seen:
                raise ValueError(f"two features are named {each.name}; allowed: names that differ")
            seen.add(each.name)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The matrix's column names."""
        return tuple(each.name for each in self.features)

    @cached_property
    def reads(self) -> frozenset[str]:
        """Every frame column that some feature reads."""
        return frozenset(column for each in self.features for column in each.reads)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over name, version, reads, order, dtype and frame version."""
        described = [[each.name, each.version, list(each.reads)] for each in self.features]
        return sha256_json({"features": described, "dtype": MATRIX_DTYPE, "frame": self.frame_version})

    def compute(self, frame: CandidateFrame) -> FeatureMatrix:
        """float32 [n, F] of a frame.

        Raises:
            DataError: the frame lacks a column that a feature reads.
        """
        values_Fn = np.empty((len(self.features), frame.num_rows), np.float32)
        for f, each in enumerate(self.features):
            values_n = each.compute(*(_column(frame, each, name) for name in each.reads))
            assert values_n.shape == (frame.num_rows,), f"feature {each.name} gave shape {values_n.shape}"
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
            fix="let features/assemble.py make the column, or correct `reads`",
        ) from None
