"""The same catalog with pictures taken away, filled in or mixed up: the retrieve stage as it would then be.

Letters: N products, V views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intarsia.engine.retrieve import RetrieveStage
from intarsia.engine.search import SearchEngine, open_fuse, open_rank, product_vectors
from intarsia.fusion.feature.imputation import Imputer
from intarsia.fusion.protocol import ProductVectors
from intarsia.index.vector_index import FlatIndex, HnswIndex, StoredVectors, VectorIndex
from intarsia.names import TEXT_RETRIEVERS
from intarsia.records.product_columns import ProductColumns

_BITS = 64


def lacks_images(columns: ProductColumns, share: float, seed: int) -> NDArray[np.bool_]:
    """Whose pictures are taken away: bool [N], by a hash of seed and product id; a larger share takes those of a smaller, and more.

    Raises:
        ValueError: a share outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share of missing pictures is {share}; allowed: 0 to 1")
    hashed = [_hash(f"{seed}:{product_id}") for product_id in columns.product_ids]
    return np.array(hashed, np.float64) < share * 2.0**_BITS


def take_images(
    retrieve: RetrieveStage, lacks_N: NDArray[np.bool_], imputers: Mapping[str, Imputer]
) -> tuple[RetrieveStage, ProductVectors]:
    """The stage over the catalog without those pictures, their vectors gone from every picture index, and the products' vectors then.

    Args:
        retrieve: the stage over the whole catalog.
        lacks_N: whose pictures are taken away.
        imputers: by picture index, what fills the gaps, also those that were there before; an index that is not named keeps them. A
            filled vector counts as the product's only view.
    """
    text_ND, _ = retrieve.vectors["text"].unit_means()
    vectors = _left(retrieve, lacks_N)
    for name in imputers.keys() & vectors.keys():
        imputer = imputers[name]
        means_NE, has_N = vectors[name].unit_means()
        vectors[name] = FlatIndex(_filled(_stored(vectors[name]), imputer(text_ND, means_NE, has_N), has_N))
    changed = replace(retrieve, vectors=vectors)
    return changed, product_vectors(changed.vectors)


def without_images(retrieve: RetrieveStage, share: float, seed: int) -> RetrieveStage:
    """The stage as if a share of the products, drawn with the seed, had no picture."""
    lacks_N = lacks_images(retrieve.columns, share, seed)
    num_images = np.where(lacks_N, 0.0, retrieve.columns.num_images)
    stage = replace(retrieve, columns=replace(retrieve.columns, num_images=num_images))
    return replace(stage, vectors=_left(stage, lacks_N))


def release_without_images(engine: SearchEngine, folder: Path, share: float, seed: int) -> SearchEngine:
    """A release as if a share of its products had no picture: the same fusion and ranker, that know nothing of those pictures.

    Args:
        engine: the release, opened.
        folder: the same release's parts.
        share: of the products, 0..1; at 1 it reads words alone.
        seed: draws whose.
    """
    retrieve = without_images(engine.retrieve, share, seed)
    fuser = open_fuse(folder / "fusion_spec", retrieve.vectors)
    return replace(engine, retrieve=retrieve, fuser=fuser, rank=open_rank(folder, retrieve))


def mix_images(retrieve: RetrieveStage, seed: int) -> RetrieveStage:
    """The stage over a catalog whose pictures say nothing: each pictured product has those of another one, drawn with the seed."""
    vectors: dict[str, VectorIndex] = dict(retrieve.vectors)
    for name, index in retrieve.vectors.items():
        if name not in TEXT_RETRIEVERS:
            stored = _stored(index)
            imaged = np.unique(stored.rows_V)
            given_N = np.arange(stored.num_rows)
            given_N[imaged] = np.random.default_rng(seed).permutation(imaged)
            vectors[name] = FlatIndex(_sorted(stored, stored.vectors_VD, given_N[stored.rows_V], stored.views_V))
    return replace(retrieve, vectors=vectors)


def _left(retrieve: RetrieveStage, lacks_N: NDArray[np.bool_]) -> dict[str, VectorIndex]:
    """The stage's indexes, every picture index without the vectors of those products."""
    return {
        name: index if name in TEXT_RETRIEVERS else FlatIndex(_without(_stored(index), lacks_N))
        for name, index in retrieve.vectors.items()
    }


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=_BITS // 8).digest())


def _stored(index: VectorIndex) -> StoredVectors:
    assert isinstance(index, FlatIndex | HnswIndex)
    return index.stored


def _without(stored: StoredVectors, lacks_N: NDArray[np.bool_]) -> StoredVectors:
    left = np.flatnonzero(~lacks_N[stored.rows_V])
    return _sorted(stored, stored.vectors_VD[left], stored.rows_V[left], stored.views_V[left])


def _filled(stored: StoredVectors, filled_NE: NDArray[np.float32], has_N: NDArray[np.bool_]) -> StoredVectors:
    """The stored vectors and, for each product without one, its filled vector as view 0."""
    new = np.flatnonzero(~has_N & (filled_NE != 0).any(axis=1))
    return _sorted(
        stored,
        np.concatenate([stored.vectors_VD, filled_NE[new]]),
        np.concatenate([stored.rows_V, new]),
        np.concatenate([stored.views_V, np.zeros(len(new), np.int32)]),
    )


def _sorted(
    like: StoredVectors, vectors_VD: NDArray[np.float32], rows_V: NDArray[np.int64], views_V: NDArray[np.int32]
) -> StoredVectors:
    """Vectors of the same space and catalog, by product and view."""
    order = np.lexsort((views_V, rows_V))
    return StoredVectors(
        space_id=like.space_id,
        vectors_VD=np.ascontiguousarray(vectors_VD[order]),
        rows_V=rows_V[order],
        views_V=views_V[order],
        num_rows=like.num_rows,
    )
