"""The files between the two passes of an ingest: cleaned units with their pictures, the small facts about each product, and rejects.

One folder, three Arrow IPC files per unit, memory-mapped by the second pass; it is deleted when the products are written.
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
from intarsia.catalog.near_duplicates import comparable, numbers_key, simhash, text_key
from intarsia.catalog.sources import FileSplit, read_unit
from intarsia.catalog.validate import Reject
from intarsia.records.product import Product
from intarsia.tables.products import PRODUCTS, REJECTED_PRODUCTS, product_to_row

_FLUSH_BYTES = 16_000_000  # pictures in memory before they are written down
_FLUSH_ROWS = 256
_TITLE_CHARS = 200  # compared between near-duplicates

FACTS = pa.schema(
    [
        ("product_id", pa.string()),
        ("row", pa.int64()),
        ("text_key", pa.binary(16)),
        ("description_key", pa.binary()),
        ("simhash", pa.uint64()),
        ("numbers_key", pa.binary(16)),
        ("title", pa.string()),  # comparable
        ("phashes", pa.list_(pa.uint64())),
        ("image_sha256", pa.list_(pa.string())),
        ("image_bytes", pa.int64()),
        ("brand", pa.string()),
        ("category_path", pa.list_(pa.string())),
        ("attributes", pa.map_(pa.string(), pa.list_(pa.string()))),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitReport:
    """What became of a unit's rows: num_products + num_lost == num_rows."""

    number: int
    num_rows: int
    num_products: int
    num_lost: int


class UnitWorker:
    """Cleans units into the scratch folder; opened once per worker process."""

    def __init__(self, mapping: CatalogMapping, folder: Path, limits: CleanLimits, scratch: Path) -> None:
        self._cleaner = RowCleaner(mapping, folder, limits)
        self._scratch = scratch

    def __call__(self, unit: FileSplit) -> UnitReport:
        """Read, clean and write one unit; memory is bounded by 16 MB of pictures, whatever the unit's size."""
        products, facts, rejects = (
            ArrowWriter(self._scratch / name, schema)
            for name, schema in zip(
                unit_files(unit.number), (PRODUCTS.schema, FACTS, REJECTED_PRODUCTS.schema), strict=True
            )
        )
        num_rows = 0
        with products, facts, rejects:
            for raw in read_unit(unit):
                num_rows += 1
                cleaned = self._cleaner.clean(unit.file, raw)
                rejects.extend(_reject_rows(cleaned.rejects))
                if cleaned.product is not None:
                    size = sum(map(len, cleaned.image_bytes))
                    products.add(product_to_row(cleaned.product, cleaned.image_bytes), size)
                    facts.add(_facts(cleaned.product, raw.number, size), 0)
        assert num_rows == unit.num_rows, (
            f"{unit.file} row {unit.first_row}: {num_rows} rows read, {unit.num_rows} planned"
        )
        return UnitReport(
            number=unit.number,
            num_rows=num_rows,
            num_products=products.num_rows,
            num_lost=num_rows - products.num_rows,
        )


def unit_files(number: int) -> tuple[str, str, str]:
    """Names of a unit's files: products, facts, rejects."""
    return f"products-{number:06d}.arrow", f"facts-{number:06d}.arrow", f"rejects-{number:06d}.arrow"


def read_sheet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A scratch file in memory, or some of its columns."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        table = reader.read_all()
        return (table if columns is None else table.select(list(columns))).combine_chunks()


def rows_at(path: Path, places: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The rows at some places of a scratch file, in ascending order of place; touches only the batches they are in."""
    wanted = np.sort(np.asarray(places, np.int64))
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        begin = 0
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            here = wanted[(wanted >= begin) & (wanted < begin + batch.num_rows)] - begin
            if len(here):
                yield from batch.take(pa.array(here)).to_pylist()
            begin += batch.num_rows


class ArrowWriter:
    """An Arrow IPC file that is written batch by batch."""

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
        self._rows.append(row)
        self.num_rows += 1
        self._bytes += size
        if self._bytes >= _FLUSH_BYTES or len(self._rows) >= _FLUSH_ROWS:
            self._flush()

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self.add(row, 0)

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._rows, self._bytes = [], 0


def _reject_rows(rejects: Iterable[Reject]) -> Iterator[dict[str, Any]]:
    return (reject.to_row() for reject in rejects)


def _facts(product: Product, row: int, image_bytes: int) -> dict[str, Any]:
    title = comparable(product.title)
    description = comparable(product.description)
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
