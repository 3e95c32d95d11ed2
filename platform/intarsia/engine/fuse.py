"""The catalog's vectors as feature fusion reads them, and the fuser of a release over them.

Letters: N products, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from intarsia.fusion.ensemble.cross_fit import CrossFitFuser, open_cross_fit
from intarsia.fusion.method import read_fusion_header
from intarsia.fusion.protocol import Fuser, ProductVectors
from intarsia.fusion.registry import FUSION_METHODS, open_fuser
from intarsia.index.vector_files import open_vector_index
from intarsia.index.vector_index import VectorIndex
from intarsia.names import ENCODED_MODALITIES

Indexes = Mapping[str, VectorIndex]


def product_vectors(indexes: Indexes) -> ProductVectors:
    """One text and one picture vector of each product, the unit mean of its stored ones."""
    (text_ND, has_text_N), (image_NE, has_image_N) = (indexes[name].unit_means() for name in ENCODED_MODALITIES)
    return ProductVectors(text_ND=text_ND, image_NE=image_NE, has_N2=np.stack([has_text_N, has_image_N], axis=1))


def open_fuse(fusion_spec: Path, indexes: Indexes) -> Fuser:
    """The second stage; `indexes` are those of the same release, read only by kinds that need vectors."""
    return open_fuser(fusion_spec, _wanted(fusion_spec, indexes))


def open_fuse_crossed(fusion_spec: Path, indexes: Indexes) -> CrossFitFuser:
    """The second stage for whoever learns from the queries that it was fitted on."""
    return open_cross_fit(fusion_spec, _wanted(fusion_spec, indexes))


def open_encoded_indexes(indexes: Path) -> Indexes:
    """The vector indexes of an `indexes` artefact that feature fusion reads (memory-mapped)."""
    return {name: open_vector_index(indexes / name) for name in ENCODED_MODALITIES}


def _wanted(fusion_spec: Path, indexes: Indexes) -> ProductVectors | None:
    kind = FUSION_METHODS.get(read_fusion_header(fusion_spec)["kind"])
    return product_vectors(indexes) if kind is not None and kind.reads_vectors else None
