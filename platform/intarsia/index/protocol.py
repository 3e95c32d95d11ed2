"""What every vector index is.

Letters: Q queries, D width, N products, k depth, C candidates.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from intarsia.ids import SpaceId


class Found(NamedTuple):
    """The best rows of each query, best first, ties by smaller row; short lists are padded with row -1, score NaN, view -1."""

    rows_Qk: NDArray[np.int64]
    scores_Qk: NDArray[np.float32]
    views_Qk: NDArray[np.int32]


class VectorIndex(Protocol):
    """Cosine search over products with zero or more vectors each (views); a product scores as its best view (late pooling)."""

    @property
    def space_id(self) -> SpaceId:
        """The space of the stored vectors; a query of another space is refused by the engine."""
        ...

    def search(self, queries_QD: NDArray[np.float32], k: int, allowed_N: NDArray[np.bool_] | None) -> Found:
        """The k best products of each query among the allowed ones (None: all)."""
        ...

    def score_rows(
        self, query_D: NDArray[np.float32], rows_C: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """(score, best view) of given rows, bitwise the same whatever their neighbours; (NaN, -1) for a row without vectors."""
        ...

    def matches(self, query_D: NDArray[np.float32], floor: float) -> NDArray[np.bool_]:
        """Bool [N]: the products whose score is `floor` or more."""
        ...

    def vectors_of(self, row: int) -> NDArray[np.float32]:
        """float32 [V, D], a row's stored vectors in view order; [0, D] without any. Seeds and feedback features read them."""
        ...

    def unit_means(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """float32 [N, D]: the unit mean of each row's vectors, zeros without any; and bool [N], which have one."""
        ...
