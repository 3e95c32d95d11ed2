"""Folders of vector indexes: exact up to a configured size, a graph above it.

Letters: N products, V views, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intarsia.config import check_range, setting, to_jsonable
from intarsia.errors import ArtifactError, DataError
from intarsia.ids import SpaceId
from intarsia.index.header import open_array, read_header, write_header
from intarsia.index.vector_index import FlatIndex, HnswIndex, StoredVectors, VectorIndex, build_graph
from intarsia.maths.arrays import Float32s, Ints

_FORMAT = "vector_index/1"
_VECTORS, _ROWS, _VIEWS = "vectors.npy", "rows.npy", "views.npy"
_NORM_TOLERANCE = 1e-3
_CHECK_ROWS = 65_536  # vectors whose lengths are checked together: bounds memory


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorIndexConfig:
    """Settings of vector search."""

    exact_up_to: int = setting("maximum number of vectors for exact search; above it, an HNSW graph is built", 100_000)
    hnsw_links: int = setting("links per vector of the graph (M)", 32, advanced=True)
    hnsw_ef_construction: int = setting(
        "candidates examined when a vector is added; more is slower and more accurate", 100, advanced=True
    )
    hnsw_ef_search: int = setting(
        "minimum number of candidates examined per query; more is slower and more accurate", 400, advanced=True
    )
    build_threads: int = setting("threads that build the graph; only 1 is reproducible", 1, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "exact_up_to", low=0)
        check_range(self, "hnsw_links", low=2)
        check_range(self, "hnsw_ef_construction", "hnsw_ef_search", "build_threads", low=1)


def build_vector_index(
    config: VectorIndexConfig,
    space_id: SpaceId,
    vectors_VD: Float32s,
    rows_V: Ints,
    num_rows: int,
    folder: Path,
    views_V: NDArray[np.int32] | None = None,
) -> None:
    """Write an index of vectors.

    Args:
        config: decides which kind it becomes.
        space_id: the space of the vectors.
        vectors_VD: unit vectors; V may be 0 (a catalog without images), but D must be the width of the space.
        rows_V: the product of each vector, ascending.
        num_rows: N, including products without vectors.
        folder: created if missing.
        views_V: the view number of each vector, ascending within a product, gaps allowed; default: numbered from 0
            within each product.

    Raises:
        DataError: a vector is not of unit length, or a row or view number is out of order or range.
    """
    if views_V is None:
        views_V = (np.arange(len(rows_V)) - np.searchsorted(rows_V, rows_V)).astype(np.int32)
    _check_vectors(vectors_VD)
    _check_numbers(rows_V, views_V, num_rows)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / _VECTORS, vectors_VD)
    np.save(folder / _ROWS, rows_V)
    np.save(folder / _VIEWS, views_V)
    kind = "flat" if len(vectors_VD) <= config.exact_up_to else "hnsw"
    if kind == "hnsw":
        build_graph(
            vectors_VD,
            folder,
            links=config.hnsw_links,
            ef_construction=config.hnsw_ef_construction,
            threads=config.build_threads,
        )
    facts = {
        "kind": kind,
        "space_id": space_id,
        "dim": int(vectors_VD.shape[1]),
        "num_rows": num_rows,
        "num_views": len(rows_V),
        "params": to_jsonable(config),
    }
    write_header(folder, _FORMAT, facts)


def open_vector_index(folder: Path) -> VectorIndex:
    """Open an index, memory-mapped.

    Raises:
        ArtifactError: the folder is torn, has another format version, or an unknown kind.
    """
    facts = read_header(folder, _FORMAT)
    stored = StoredVectors(
        space_id=SpaceId(facts["space_id"]),
        vectors_VD=open_array(folder / _VECTORS),
        rows_V=open_array(folder / _ROWS),
        views_V=open_array(folder / _VIEWS),
        num_rows=facts["num_rows"],
    )
    if stored.vectors_VD.shape != (facts["num_views"], facts["dim"]):
        raise ArtifactError(
            f"{folder / _VECTORS} has shape {stored.vectors_VD.shape}; index.json says "
            f"{(facts['num_views'], facts['dim'])}: the files are of two builds. Fix: run build_indexes again"
        )
    if facts["kind"] not in VECTOR_INDEX_KINDS:
        raise ArtifactError(
            f"{folder} is an index of kind {facts['kind']!r}; "
            f"this version reads {', '.join(VECTOR_INDEX_KINDS)}. Fix: run build_indexes again"
        )
    return VECTOR_INDEX_KINDS[facts["kind"]](folder, stored, facts["params"])


VECTOR_INDEX_KINDS: Mapping[str, Callable[[Path, StoredVectors, Mapping[str, Any]], VectorIndex]] = {
    "flat": lambda folder, stored, params: FlatIndex(stored),
    "hnsw": lambda folder, stored, params: HnswIndex.open(folder, stored, ef_search=params["hnsw_ef_search"]),
}


def _check_numbers(rows_V: Ints, views_V: NDArray[np.int32], num_rows: int) -> None:
    assert rows_V.dtype == np.int64 and views_V.dtype == np.int32 and rows_V.shape == views_V.shape
    if len(rows_V) and (np.any(np.diff(rows_V) < 0) or rows_V[0] < 0 or rows_V[-1] >= num_rows):
        raise DataError(
            table="vectors",
            field="rows",
            found=f"{int(rows_V.min())}..{int(rows_V.max())}",
            allowed=f"ascending row numbers 0..{num_rows - 1}",
            fix="sort the vectors by product row, and leave out products that are not in the catalog",
        )
    wrong = np.flatnonzero((rows_V[1:] == rows_V[:-1]) & (views_V[1:] <= views_V[:-1]))
    if len(wrong):
        at = int(wrong[0]) + 1
        raise DataError(
            table="vectors",
            row=at,
            field="view",
            found=int(views_V[at]),
            allowed=f"above {int(views_V[at - 1])}, the view before it of product row {int(rows_V[at])}",
            fix="pass each view of a product once, in order; run embed_products again",
        )


def _check_vectors(vectors_VD: Float32s) -> None:
    assert vectors_VD.ndim == 2 and vectors_VD.dtype == np.float32 and vectors_VD.shape[1] >= 1
    for start in range(0, len(vectors_VD), _CHECK_ROWS):
        block = vectors_VD[start : start + _CHECK_ROWS]
        norms = np.sqrt(np.vecdot(block, block))
        wrong = np.flatnonzero(~(np.abs(norms - 1.0) <= _NORM_TOLERANCE))  # NaN is wrong too
        if len(wrong):
            raise DataError(
                table="vectors",
                row=start + int(wrong[0]),
                field="length",
                found=float(norms[wrong[0]]),
                allowed="1 (unit vectors)",
                fix="pass unit vectors; run embed_products again",
            )
