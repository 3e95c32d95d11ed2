"""What every ranker is. Letters: n rows, F features."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from intarsia.records.feature_matrix import FeatureMatrix


class Ranker(Protocol):
    """Scores rows independently of each other: the same row gives the same bits in any batch."""

    @property
    def feature_fingerprint(self) -> str:
        """The feature set it was trained on; a matrix of another is refused with ReleaseMismatch."""
        ...

    def score(self, features: FeatureMatrix) -> NDArray[np.float32]:
        """float32 [n], higher is better."""
        ...

    def contributions(self, features: FeatureMatrix) -> NDArray[np.float64]:
        """float64 [n, F + 1]: each feature's share of the score (TreeSHAP), the bias last; rows sum to the score."""
        ...
