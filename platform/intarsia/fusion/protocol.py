"""What every fuser is, and what it is fitted on.

Letters: C candidates of one query, N products, D and E widths of text and image vectors.
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
    """Gives every candidate one fused score; never adds a candidate, never reads another query's."""

    def fuse(self, candidates: Candidates) -> Candidates:
        """The candidates with `fused_C` set; those beyond the spec's depth are dropped."""
        ...

    def save(self, folder: Path) -> None:
        """Write all that `open_fuser` needs to make it again, bit for bit."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductVectors:
    """What feature fusion knows of each product: one vector per modality (pictures by their unit mean), and which are there.

    `text_ND` and `image_NE` are float32 unit rows, zeros where the modality is missing; `has_N2` is bool, columns text and image.
    """

    text_ND: NDArray[np.float32]
    image_NE: NDArray[np.float32]
    has_N2: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionTrainingData:
    """Judged queries as a fuser learns from them: candidates (with their query vectors) and the grade of each candidate, 0 unjudged.

    `judged` are all judged grades of each query, also those of products that no retriever brought; `query_ids` name them, so that folds
    are cut by query and depend on nothing else.
    """

    query_ids: tuple[str, ...]
    candidates: Sequence[Candidates]
    grades: Sequence[NDArray[np.float64]]
    judged: Sequence[NDArray[np.float64]]
    products: ProductVectors | None = None
