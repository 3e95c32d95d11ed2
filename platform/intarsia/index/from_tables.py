"""Reads the lake tables that indexes are built from: tokens of products, by row group, and vectors in row order.

Letters: N products, V views, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from intarsia import text
from intarsia.errors import ArtifactError
from intarsia.ids import SpaceId
from intarsia.lake import Entry
from intarsia.maths.arrays import Float32s, Ints
from intarsia.records.product import Product
from intarsia.tables.products import COLUMNS_WITHOUT_IMAGE_BYTES, PRODUCTS, row_to_product
from intarsia.tables.schema import TableSpec


class ProductRowGroup(NamedTuple):
    """One row group of one part of the table `products`."""

    path: Path
    row_group: int


class ProductTokens(NamedTuple):
    """Tokens of products: field -> tokens of each product, in the order of `product_ids`."""

    product_ids: list[str]
    by_field: Mapping[str, list[list[str]]]


@dataclass(frozen=True, slots=True)
class Tokeniser:
    """Reads a row group and tokenises fields; Chinese takes about 1 ms per product, so it runs in workers."""

    fields: tuple[str, ...]

    def __call__(self, group: ProductRowGroup) -> ProductTokens:
        """The tokens of one row group."""
        with pq.ParquetFile(group.path) as file:
            rows = file.read_row_group(group.row_group, columns=list(COLUMNS_WITHOUT_IMAGE_BYTES)).to_pylist()
        products = [row_to_product(row)[0] for row in rows]
        texts = [field_texts(product) for product in products]
        by_field = {name: [text.tokens(of_product[name]) for of_product in texts] for name in self.fields}
        return ProductTokens([product.product_id for product in products], by_field)


def field_texts(product: Product) -> Mapping[str, str]:
    """The text of each searched field. Attributes contribute their values only: every product has the same names."""
    return {
        "title": product.title,
        "description": product.description,
        "brand": product.brand,
        "category": " ".join(product.category_path),
        "attributes": " ".join(value for _, values in sorted(product.attributes.items()) for value in values),
    }


def product_row_groups(products: Entry) -> Iterator[ProductRowGroup]:
    """The row groups of a published `products`, in order."""
    for path in PRODUCTS.parts(products):
        for row_group in range(pq.read_metadata(path).num_row_groups):
            yield ProductRowGroup(path, row_group)


class CatalogVectors(NamedTuple):
    """The vectors of one embeddings table, sorted by product row, then view."""

    space_id: SpaceId
    vectors_VD: Float32s
    rows_V: Ints
    views_V: NDArray[np.int32]


def read_catalog_vectors(
    spec: TableSpec, entry: Entry, product_ids: Sequence[str], *, every_product: bool = False
) -> CatalogVectors:
    """Read the vectors of a catalog.

    Args:
        spec: `TEXT_EMBEDDINGS` or `IMAGE_EMBEDDINGS`.
        entry: its published version; its notes contain `space_id` and `dim`, even for an empty table.
        product_ids: ids of the catalog, ascending; positions are rows.
        every_product: whether each product must have a vector (text), or may have none (images).

    Raises:
        ArtifactError: vectors of several spaces or of another width, a vector of an unknown product, or a missing
            vector: the table was made from other products or with another encoder.
    """
    space_id, dim = SpaceId(entry.notes["space_id"]), int(entry.notes["dim"])
    keys = spec.read(entry, ["product_id", "view", "space_id"])
    spaces = set(keys["space_id"].unique().to_pylist()) - {space_id}
    if spaces:
        raise _mismatch(entry, f"contains vectors of space {min(spaces)}; allowed: only {space_id}")
    rows_V = _rows(entry, keys["product_id"], product_ids)
    order = np.lexsort((keys["view"].to_numpy(), rows_V))
    position_of = np.empty(len(order), np.int64)
    position_of[order] = np.arange(len(order))
    rows_V, views_V = rows_V[order], keys["view"].to_numpy()[order]
    if every_product and len(missing := np.setdiff1d(np.arange(len(product_ids)), rows_V)):
        raise _mismatch(entry, f"has no vector of product {product_ids[missing[0]]}, which is in the catalog")
    vectors_VD = np.empty((len(order), dim), np.float32)
    start = 0
    for batch in spec.batches(entry, ["vector"], num_rows=4096):
        vectors = batch.column("vector")
        flat = vectors.flatten().to_numpy()
        if len(flat) != len(vectors) * dim:
            raise _mismatch(entry, f"contains {len(flat)} values in {len(vectors)} vectors; allowed: {dim} in each")
        vectors_VD[position_of[start : start + len(vectors)]] = flat.reshape(len(vectors), dim)
        start += len(vectors)
    return CatalogVectors(space_id, vectors_VD, rows_V, views_V)


def _rows(entry: Entry, vector_ids: pa.ChunkedArray, product_ids: Sequence[str]) -> Ints:
    row_of = {product_id: row for row, product_id in enumerate(product_ids)}
    rows = np.fromiter((row_of.get(i, -1) for i in vector_ids.to_pylist()), np.int64, count=len(vector_ids))
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        raise _mismatch(
            entry,
            f"contains a vector of product {vector_ids[int(unknown[0])].as_py()}; allowed: products of the catalog",
        )
    return rows


def _mismatch(entry: Entry, problem: str) -> ArtifactError:
    return ArtifactError(
        f"{entry.name} {problem}. It was made from other products or by another encoder. Fix: run embed_products again"
    )
