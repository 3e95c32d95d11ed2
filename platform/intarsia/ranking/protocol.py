"""The interface of a ranker. Letters: n rows, F features."""

from __future__ import annotations

from typing import Protocol

from intarsia.maths.arrays import Float32s, Floats
from intarsia.records.feature_matrix import FeatureMatrix


class Ranker(Protocol):
    """Scores rows independently of each other: the same row gives the same bits in any batch."""

    @property
    def feature_fingerprint(self) -> str:
        """The feature set it was trained on; a matrix of another set raises ReleaseMismatch."""
        ...

    def score(self, features: FeatureMatrix) -> Float32s:
        """float32 [n], higher is better."""
        ...

    def contributions(self, features: FeatureMatrix) -> Floats:
        """float64 [n, F + 1]: each feature's share of the score (TreeSHAP), bias last; a row sums to its score."""
        ...
