"""The lake's tables as what indexes are built from: tokens of products, piece by piece, and vectors in row order.

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
from intarsia.records.product import Product
from intarsia.tables.products import COLUMNS_WITHOUT_IMAGE_BYTES, PRODUCTS, row_to_product
from intarsia.tables.schema import TableSpec


class Piece(NamedTuple):
    """One row group of one part of `products`."""

    path: Path
    row_group: int


class Tokens(NamedTuple):
    """The tokens of some products: field -> per product, in the order of `product_ids`."""

    product_ids: list[str]
    by_field: Mapping[str, list[list[str]]]


@dataclass(frozen=True, slots=True)
class Tokeniser:
    """Reads a piece and splits the texts of some fields; Chinese takes about a millisecond a product, so pieces go to workers."""

    fields: tuple[str, ...]

    def __call__(self, piece: Piece) -> Tokens:
        """The tokens of one piece."""
        with pq.ParquetFile(piece.path) as file:
            rows = file.read_row_group(piece.row_group, columns=list(COLUMNS_WITHOUT_IMAGE_BYTES)).to_pylist()
        products = [row_to_product(row)[0] for row in rows]
        texts = [field_texts(product) for product in products]
        by_field = {name: [text.tokens(found[name]) for found in texts] for name in self.fields}
        return Tokens([product.product_id for product in products], by_field)


def field_texts(product: Product) -> Mapping[str, str]:
    """What each searched field says; of attributes the values, since their names are said of every product."""
    return {
        "title": product.title,
        "description": product.description,
        "brand": product.brand,
        "category": " ".join(product.category_path),
        "attributes": " ".join(value for _, values in sorted(product.attributes.items()) for value in values),
    }


def pieces_of(products: Entry) -> Iterator[Piece]:
    """The pieces of a published `products`, in order."""
    for path in PRODUCTS.parts(products):
        for row_group in range(pq.read_metadata(path).num_row_groups):
            yield Piece(path, row_group)


class Embedded(NamedTuple):
    """The vectors of one embeddings table, by product row and then view."""

    space_id: SpaceId
    vectors_VD: NDArray[np.float32]
    rows_V: NDArray[np.int64]
    views_V: NDArray[np.int32]


def read_embedded(
    spec: TableSpec, entry: Entry, product_ids: Sequence[str], *, every_product: bool = False
) -> Embedded:
    """The vectors of a catalog.

    Args:
        spec: `TEXT_EMBEDDINGS` or `IMAGE_EMBEDDINGS`.
        entry: its published version; its notes name `space_id` and `dim`, also of an empty table.
        product_ids: the catalog's, ascending; their places are the rows.
        every_product: whether each product must have a vector (its text), or may have none (its pictures).

    Raises:
        ArtifactError: vectors of several spaces, of another width, of a product that the catalog does not have, or none of one that must
            have one: the table was made from other products or with another encoder.
    """
    space_id, dim = SpaceId(entry.notes["space_id"]), int(entry.notes["dim"])
    keys = spec.read(entry, ["product_id", "view", "space_id"])
    spaces = set(keys["space_id"].unique().to_pylist()) - {space_id}
    if spaces:
        raise _mixed(entry, f"holds vectors of space {min(spaces)}; allowed: only {space_id}")
    rows_V = _rows(entry, keys["product_id"], product_ids)
    order = np.lexsort((keys["view"].to_numpy(), rows_V))
    place_of = np.empty(len(order), np.int64)
    place_of[order] = np.arange(len(order))
    rows_V, views_V = rows_V[order], keys["view"].to_numpy()[order]
    if every_product and len(missing := np.setdiff1d(np.arange(len(product_ids)), rows_V)):
        raise _mixed(entry, f"has no vector of product {product_ids[missing[0]]}, which the catalog holds")
    vectors_VD = np.empty((len(order), dim), np.float32)
    start = 0
    for batch in spec.batches(entry, ["vector"], num_rows=4096):
        vectors = batch.column("vector")
        flat = vectors.flatten().to_numpy()
        if len(flat) != len(vectors) * dim:
            raise _mixed(entry, f"holds {len(flat)} values in {len(vectors)} vectors; allowed: {dim} in each")
        vectors_VD[place_of[start : start + len(vectors)]] = flat.reshape(len(vectors), dim)
        start += len(vectors)
    return Embedded(space_id, vectors_VD, rows_V, views_V)


def _rows(entry: Entry, found_ids: pa.ChunkedArray, product_ids: Sequence[str]) -> NDArray[np.int64]:
    row_of = {product_id: row for row, product_id in enumerate(product_ids)}
    rows = np.fromiter((row_of.get(i, -1) for i in found_ids.to_pylist()), np.int64, count=len(found_ids))
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        raise _mixed(
            entry, f"holds a vector of product {found_ids[int(unknown[0])].as_py()}; allowed: products of the catalog"
        )
    return rows


def _mixed(entry: Entry, what: str) -> ArtifactError:
    return ArtifactError(f"{entry.name} {what}: it was made from something else, run embed_products again")
