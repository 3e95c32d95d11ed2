"""Catalogs with images removed, imputed or shuffled, as candidates, vectors, retrieve stage or release.

Letters: N products, V views, D and E widths of text and image vectors.
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
from intarsia.records.candidates import Candidates
from intarsia.records.product_columns import ProductColumns

_BITS = 64


def missing_images_mask(columns: ProductColumns, share: float, seed: int) -> NDArray[np.bool_]:
    """Which products lose their images: bool [N], by a hash of seed and product id.

    The products of a larger share contain those of every smaller one.

    Raises:
        ValueError: a share outside 0..1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share of missing images is {share}; allowed: 0 to 1")
    hashes = [_hash(f"{seed}:{product_id}") for product_id in columns.product_ids]
    return np.array(hashes, np.float64) < share * 2.0**_BITS


def text_only_candidates(candidates: Candidates) -> Candidates:
    """The candidates as the text retrievers alone would return them.

    The columns of the other retrievers and the candidates that only these returned are removed.
    """
    keep_R = [r for r, name in enumerate(candidates.retrievers) if name in TEXT_RETRIEVERS]
    text_only = replace(
        candidates,
        retrievers=tuple(candidates.retrievers[r] for r in keep_R),
        scores_CR=np.ascontiguousarray(candidates.scores_CR[:, keep_R]),
        ranks_CR=np.ascontiguousarray(candidates.ranks_CR[:, keep_R]),
        views_C=np.full(len(candidates.rows_C), -1, np.int32),
        query_vectors={name: vector for name, vector in candidates.query_vectors.items() if name in TEXT_RETRIEVERS},
    )
    return text_only.only(np.asarray((text_only.ranks_CR > 0).any(axis=1)))


def vectors_without_images(products: ProductVectors) -> ProductVectors:
    """The product vectors with no image vector."""
    has_N2 = products.has_N2.copy()
    has_N2[:, 1] = False
    return replace(products, image_NE=np.zeros_like(products.image_NE), has_N2=has_N2)


def remove_images(
    retrieve: RetrieveStage, is_missing_N: NDArray[np.bool_], imputers: Mapping[str, Imputer]
) -> tuple[RetrieveStage, ProductVectors]:
    """Remove the image vectors of some products, and optionally impute them.

    Returns the changed stage and the product vectors of that stage.

    Args:
        retrieve: the stage over the whole catalog.
        is_missing_N: the products that lose their images.
        imputers: by image index: makes vectors for all products without one, also those that never had an image; an
            index that is not named keeps its gaps. An imputed vector is the product's only view.
    """
    text_ND, _ = retrieve.vectors["text"].unit_means()
    vectors = _image_indexes_without(retrieve, is_missing_N)
    for name in imputers.keys() & vectors.keys():
        imputer = imputers[name]
        means_NE, has_N = vectors[name].unit_means()
        vectors[name] = FlatIndex(_imputed(_stored(vectors[name]), imputer(text_ND, means_NE, has_N), has_N))
    changed = replace(retrieve, vectors=vectors)
    return changed, product_vectors(changed.vectors)


def retrieve_without_images(retrieve: RetrieveStage, share: float, seed: int) -> RetrieveStage:
    """The stage with the images of a share of the products removed, also from the columns."""
    is_missing_N = missing_images_mask(retrieve.columns, share, seed)
    num_images = np.where(is_missing_N, 0.0, retrieve.columns.num_images)
    stage = replace(retrieve, columns=replace(retrieve.columns, num_images=num_images))
    return replace(stage, vectors=_image_indexes_without(stage, is_missing_N))


def release_without_images(engine: SearchEngine, folder: Path, share: float, seed: int) -> SearchEngine:
    """A release with the images of a share of its products removed; fusion and ranker are unchanged.

    Args:
        engine: the opened release.
        folder: folder of the same release.
        share: share of the products, 0..1; at 1 only text is left.
        seed: draws the products.
    """
    retrieve = retrieve_without_images(engine.retrieve, share, seed)
    fuser = open_fuse(folder / "fusion_spec", retrieve.vectors)
    return replace(engine, retrieve=retrieve, fuser=fuser, rank=open_rank(folder, retrieve))


def shuffle_images(retrieve: RetrieveStage, seed: int) -> RetrieveStage:
    """The stage with all images permuted among the products that have one: images without information."""
    vectors: dict[str, VectorIndex] = dict(retrieve.vectors)
    for name, index in retrieve.vectors.items():
        if name not in TEXT_RETRIEVERS:
            stored = _stored(index)
            with_image = np.unique(stored.rows_V)
            new_row_N = np.arange(stored.num_rows)
            new_row_N[with_image] = np.random.default_rng(seed).permutation(with_image)
            vectors[name] = FlatIndex(_sorted(stored, stored.vectors_VD, new_row_N[stored.rows_V], stored.views_V))
    return replace(retrieve, vectors=vectors)


def _image_indexes_without(retrieve: RetrieveStage, is_missing_N: NDArray[np.bool_]) -> dict[str, VectorIndex]:
    """All indexes of the stage, the image indexes without the vectors of those products."""
    return {
        name: index if name in TEXT_RETRIEVERS else FlatIndex(_without(_stored(index), is_missing_N))
        for name, index in retrieve.vectors.items()
    }


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=_BITS // 8).digest())


def _stored(index: VectorIndex) -> StoredVectors:
    assert isinstance(index, FlatIndex | HnswIndex)
    return index.stored


def _without(stored: StoredVectors, is_missing_N: NDArray[np.bool_]) -> StoredVectors:
    kept = np.flatnonzero(~is_missing_N[stored.rows_V])
    return _sorted(stored, stored.vectors_VD[kept], stored.rows_V[kept], stored.views_V[kept])


def _imputed(stored: StoredVectors, imputed_NE: NDArray[np.float32], has_N: NDArray[np.bool_]) -> StoredVectors:
    """The stored vectors, and for each product without one its imputed vector as view 0."""
    new = np.flatnonzero(~has_N & (imputed_NE != 0).any(axis=1))
    return _sorted(
        stored,
        np.concatenate([stored.vectors_VD, imputed_NE[new]]),
        np.concatenate([stored.rows_V, new]),
        np.concatenate([stored.views_V, np.zeros(len(new), np.int32)]),
    )


def _sorted(
    like: StoredVectors, vectors_VD: NDArray[np.float32], rows_V: NDArray[np.int64], views_V: NDArray[np.int32]
) -> StoredVectors:
    """Vectors of the same space and catalog as `like`, ordered by product and view."""
    order = np.lexsort((views_V, rows_V))
    return StoredVectors(
        space_id=like.space_id,
        vectors_VD=np.ascontiguousarray(vectors_VD[order]),
        rows_V=rows_V[order],
        views_V=views_V[order],
        num_rows=like.num_rows,
    )
