"""Queries and products as arrays with a mask: how fit and scorer read the house's records.

Letters: Q queries, N products, D text width, E image width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import ReleaseMismatch
from intarsia.fusion.feature.config import MODALITIES
from intarsia.fusion.protocol import ProductVectors
from intarsia.records.query import QueryVector


class Arrays(NamedTuple):
    """Text float32 [N, D], image float32 [N, E], and which of both are there, bool [N, 2]."""

    text: NDArray[np.float32]
    image: NDArray[np.float32]
    has: NDArray[np.bool_]

    def rows(self, rows: NDArray[np.int64]) -> Arrays:
        """Some of them, in any shape."""
        return Arrays(self.text[rows], self.image[rows], self.has[rows])


def product_arrays(products: ProductVectors) -> Arrays:
    """Products; a catalog that knows no vector at all of a modality has one column of zeros there."""
    return Arrays(_some_columns(products.text_ND), _some_columns(products.image_NE), products.has_N2)


def query_arrays(queries: Sequence[Mapping[str, QueryVector]], dims: tuple[int, int]) -> Arrays:
    """Queries by their vectors; a part that was not given is zeros.

    Raises:
        ReleaseMismatch: a vector is not as wide as the products' of its modality.
    """
    parts = []
    for name, dim in zip(MODALITIES, dims, strict=True):
        part = np.zeros((len(queries), dim), np.float32)
        for number, vectors in enumerate(queries):
            if (vector := vectors.get(name)) is not None:
                if len(vector.values_D) != dim:
                    raise ReleaseMismatch(
                        f"the query's {name} vector has {len(vector.values_D)} numbers, the products' have {dim}; "
                        "encode both by the encoders of one release"
                    )
                part[number] = vector.values_D
        parts.append(part)
    has = np.array([[name in vectors for name in MODALITIES] for vectors in queries], bool)
    return Arrays(parts[0], parts[1], has.reshape(-1, len(MODALITIES)))


def query_spaces(queries: Iterable[Mapping[str, QueryVector]]) -> dict[str, str]:
    """The space of each modality that some query has.

    Raises:
        ReleaseMismatch: queries of one modality are of two spaces, as where each fold of them has a tower of its own.
    """
    spaces: dict[str, str] = {}
    for vectors in queries:
        for name in MODALITIES:
            if name in vectors and spaces.setdefault(name, vectors[name].space_id) != vectors[name].space_id:
                raise ReleaseMismatch(
                    f"the queries' {name} vectors are of spaces {spaces[name]} and {vectors[name].space_id}, and feature fusion learns in "
                    "one; leave its kinds out, or fine-tune the tower without folds"
                )
    return spaces


def check_space(name: str, vector: QueryVector, expected: str | None) -> None:
    """Refuse a query vector of another space than was learned from; None: queries of this modality were not there to learn from.

    Raises:
        ReleaseMismatch: it is.
    """
    if expected is not None and vector.space_id != expected:
        raise ReleaseMismatch(
            f"the query's {name} vector is of space {vector.space_id}, feature fusion learned from {expected}; fit it again"
        )


def _some_columns(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors if vectors.shape[1] else np.zeros((len(vectors), 1), np.float32)
