"""Staging files between the two passes of an ingest: `SplitCleaner` writes them, `resolve` reads them.

Three Arrow IPC files per split: cleaned products with their image bytes, the keys that duplicates and spellings are
resolved by, and rejects. The folder is deleted when the products are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from intarsia.catalog.clean import CleanLimits, RowCleaner
from intarsia.catalog.mapping import CatalogMapping
from intarsia.catalog.near_duplicates import dedup_text, numbers_key, simhash, text_key
from intarsia.catalog.sources import FileSplit, read_split
from intarsia.records.product import Product
from intarsia.tables.products import PRODUCTS, REJECTED_PRODUCTS, product_to_row

_FLUSH_BYTES = 16_000_000  # image bytes held in memory before a batch is written
_FLUSH_ROWS = 256
_TITLE_CHARS = 200  # of a title, compared between near-duplicates

PRODUCT_KEYS = pa.schema(
    [
        ("product_id", pa.string()),
        ("row", pa.int64()),
        ("text_key", pa.binary(16)),
        ("description_key", pa.binary()),
        ("simhash", pa.uint64()),
        ("numbers_key", pa.binary(16)),
        ("title", pa.string()),  # the output of dedup_text
        ("phashes", pa.list_(pa.uint64())),
        ("image_sha256", pa.list_(pa.string())),
        ("image_bytes", pa.int64()),
        ("brand", pa.string()),
        ("category_path", pa.list_(pa.string())),
        ("attributes", pa.map_(pa.string(), pa.list_(pa.string()))),
    ]
)
"""Schema of the keys file: what `resolve` reads of each product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCounts:
    """Row counts of a cleaned split; num_products + num_dropped == num_rows."""

    number: int
    num_rows: int
    num_products: int
    num_dropped: int


class SplitCleaner:
    """Cleans splits into the staging folder; opened once per worker process."""

    def __init__(self, mapping: CatalogMapping, folder: Path, limits: CleanLimits, staging: Path) -> None:
        self._cleaner = RowCleaner(mapping, folder, limits)
        self._staging = staging

    def __call__(self, split: FileSplit) -> SplitCounts:
        """Read, clean and write one split; holds at most 16 MB of image bytes in memory."""
        products, keys, rejects = (
            ArrowWriter(self._staging / name, schema)
            for name, schema in zip(
                staging_files(split.number), (PRODUCTS.schema, PRODUCT_KEYS, REJECTED_PRODUCTS.schema), strict=True
            )
        )
        num_rows = 0
        with products, keys, rejects:
            for raw in read_split(split):
                num_rows += 1
                cleaned = self._cleaner.clean(split.file, raw)
                rejects.extend(reject.to_row() for reject in cleaned.rejects)
                if cleaned.product is not None:
                    size = sum(map(len, cleaned.image_bytes))
                    products.add(product_to_row(cleaned.product, cleaned.image_bytes), size)
                    keys.add(_product_keys(cleaned.product, raw.number, size), 0)
        assert num_rows == split.num_rows, (
            f"{split.file} row {split.first_row}: {num_rows} rows read, {split.num_rows} planned"
        )
        return SplitCounts(
            number=split.number,
            num_rows=num_rows,
            num_products=products.num_rows,
            num_dropped=num_rows - products.num_rows,
        )


def staging_files(split_number: int) -> tuple[str, str, str]:
    """File names of a split: products, keys, rejects."""
    number = f"{split_number:06d}"
    return f"products-{number}.arrow", f"keys-{number}.arrow", f"rejects-{number}.arrow"


def read_staging_file(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a staging file, or some of its columns, into memory."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        table = reader.read_all()
        return (table if columns is None else table.select(list(columns))).combine_chunks()


def take_rows(path: Path, indices: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a staging file at `indices`, in ascending order; reads only the batches that hold them."""
    wanted = np.sort(np.asarray(indices, np.int64))
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        begin = 0
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            in_batch = wanted[(wanted >= begin) & (wanted < begin + batch.num_rows)] - begin
            if len(in_batch):
                yield from batch.take(pa.array(in_batch)).to_pylist()
            begin += batch.num_rows


class ArrowWriter:
    """Writes an Arrow IPC file batch by batch."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema, self._rows, self._bytes = schema, list[Mapping[str, Any]](), 0
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, schema)
        self.num_rows = 0

    def __enter__(self) -> ArrowWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()
        self._file.close()

    def add(self, row: Mapping[str, Any], size: int) -> None:
        """Add a row that holds `size` bytes of images."""
        self._rows.append(row)
        self.num_rows += 1
        self._bytes += size
        if self._bytes >= _FLUSH_BYTES or len(self._rows) >= _FLUSH_ROWS:
            self._flush()

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows without images."""
        for row in rows:
            self.add(row, 0)

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._rows, self._bytes = [], 0


def _product_keys(product: Product, row: int, image_bytes: int) -> dict[str, Any]:
    title = dedup_text(product.title)
    description = dedup_text(product.description)
    text = f"{title}\n{description}"
    return {
        "product_id": product.product_id,
        "row": row,
        "text_key": text_key(text),
        "description_key": text_key(description) if description else b"",
        "simhash": simhash(text),
        "numbers_key": numbers_key(text),
        "title": title[:_TITLE_CHARS],
        "phashes": [int(image.phash, 16) for image in product.images],
        "image_sha256": [image.sha256 for image in product.images],
        "image_bytes": image_bytes,
        "brand": product.brand,
        "category_path": list(product.category_path),
        "attributes": [(name, list(values)) for name, values in product.attributes.items()],
    }
