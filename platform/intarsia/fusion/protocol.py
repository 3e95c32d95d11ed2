"""The interface of a fuser, and the data that a fuser is fitted on.

Shapes: C candidates of one query, N products, D and E widths of text and image vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from intarsia.records.candidates import Candidates


class Fuser(Protocol):
    """Gives every candidate of a query one fused score.

    A fuser never adds a candidate, and the scores of a query do not depend on other queries.
    """

    def fuse(self, candidates: Candidates) -> Candidates:
        """Return the candidates with `fused_C` set; candidates below the configured depth are dropped."""
        ...

    def save(self, folder: Path) -> None:
        """Write all files that `open_fuser` needs; the opened fuser gives the same scores, bit for bit."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductVectors:
    """The product vectors that feature fusion reads: one per modality.

    Attributes:
        text_ND: float32 [N, D], unit rows; zeros where the product has no text vector.
        image_NE: float32 [N, E], the unit mean of the product's image vectors; zeros where it has no image.
        has_N2: bool [N, 2], which vectors exist; columns text and image.
    """

    text_ND: NDArray[np.float32]
    image_NE: NDArray[np.float32]
    has_N2: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionTrainingData:
    """Judged queries that a fuser is fitted or measured on.

    Attributes:
        query_ids: one per query. Folds are assigned by the query id alone.
        candidates: of each query, with the query vectors.
        grades: of each query, the grade of each candidate; 0 where nobody judged it.
        judged: of each query, all judged grades, including products that no retriever returned.
        products: the product vectors; needed by methods that read vectors.
    """

    query_ids: tuple[str, ...]
    candidates: Sequence[Candidates]
    grades: Sequence[NDArray[np.float64]]
    judged: Sequence[NDArray[np.float64]]
    products: ProductVectors | None = None
