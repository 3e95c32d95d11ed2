"""Product fields that a results page shows, and images, by row number, in two memory-mapped Arrow IPC files.

Filters and features read `columns.py` instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from intarsia.errors import ArtifactError
from intarsia.ids import ProductId
from intarsia.lake import Entry
from intarsia.records.product import Attributes, Money
from intarsia.tables.products import PRODUCTS

DOCUMENTS_FILE, IMAGES_FILE = "documents.arrow", "pictures.arrow"

_DOCUMENT_SCHEMA = pa.schema(
    [
        ("product_id", pa.string()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("brand", pa.string()),
        ("category_path", pa.list_(pa.string())),
        ("price_minor", pa.int64()),
        ("currency", pa.string()),
        ("attributes", pa.map_(pa.string(), pa.list_(pa.string()))),
        ("in_stock", pa.bool_()),
        ("locale", pa.string()),
        ("num_images", pa.int32()),
    ]
)
_IMAGE_SCHEMA = pa.schema([("row", pa.int64()), ("number", pa.int32()), ("bytes", pa.binary())])


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The fields of one product that a results page shows."""

    row: int
    product_id: ProductId
    title: str
    description: str
    brand: str
    category_path: tuple[str, ...]
    price: Money | None
    attributes: Attributes
    in_stock: bool | None
    locale: str
    num_images: int


def write_documents(products: Entry, folder: Path) -> int:
    """Write both files of a published products table into an existing folder; returns the number of rows."""
    row = 0
    with (
        pa.OSFile(str(folder / DOCUMENTS_FILE), "wb") as documents_file,
        pa.OSFile(str(folder / IMAGES_FILE), "wb") as images_file,
        pa.ipc.new_file(documents_file, _DOCUMENT_SCHEMA) as documents,
        pa.ipc.new_file(images_file, _IMAGE_SCHEMA) as images,
    ):
        for batch in PRODUCTS.batches(products):
            rows = batch.to_pylist()
            document_rows = [{**product, "num_images": len(product["images"])} for product in rows]
            documents.write_batch(pa.RecordBatch.from_pylist(document_rows, schema=_DOCUMENT_SCHEMA))
            image_rows = [
                {"row": row + i, "number": number, "bytes": image["bytes"]}
                for i, product in enumerate(rows)
                for number, image in enumerate(product["images"])
            ]
            images.write_batch(pa.RecordBatch.from_pylist(image_rows, schema=_IMAGE_SCHEMA))
            row += len(rows)
    return row


class Documents:
    """Reads both files; only the rows that are requested are loaded."""

    def __init__(self, documents: _Mapped, images: _Mapped) -> None:
        self._documents, self._images = documents, images
        columns = [batch.column("row") for batch in self._images.batches]
        self._row_of_image = np.concatenate([np.zeros(0, np.int64), *(column.to_numpy() for column in columns)])

    @classmethod
    def open(cls, folder: Path) -> Documents:
        """Map both files of a folder.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        return cls(_Mapped(folder / DOCUMENTS_FILE), _Mapped(folder / IMAGES_FILE))

    @property
    def num_rows(self) -> int:
        return self._documents.num_rows

    def get(self, rows: Sequence[int]) -> list[Document]:
        """The documents of `rows`, in that order.

        Raises:
            IndexError: a row is not in 0..num_rows - 1.
        """
        return [_document(row, self._documents.row(row)) for row in map(int, rows)]

    def image(self, row: int, number: int) -> bytes | None:
        """The file content of image `number` (from 0) of a product; None when there is no such image."""
        begin, end = np.searchsorted(self._row_of_image, [row, row + 1])
        if not 0 <= number < end - begin:
            return None
        content: bytes = self._images.row(int(begin) + number)["bytes"]
        return content


class _Mapped:
    """Access to an Arrow IPC file by row number."""

    def __init__(self, path: Path) -> None:
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self.batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        except (OSError, pa.ArrowInvalid) as error:
            raise ArtifactError(f"{path} cannot be read: {error}. Fix: run build_indexes again") from None
        self._ends = np.cumsum([batch.num_rows for batch in self.batches], dtype=np.int64)
        self.num_rows = int(self._ends[-1]) if len(self._ends) else 0

    def row(self, row: int) -> Mapping[str, Any]:
        if not 0 <= row < self.num_rows:
            raise IndexError(f"row is {row}; allowed: 0 to {self.num_rows - 1}")
        number = int(np.searchsorted(self._ends, row, side="right"))
        batch = self.batches[number]
        value: Mapping[str, Any] = batch.slice(row - (int(self._ends[number]) - batch.num_rows), 1).to_pylist()[0]
        return value


def _document(row: int, value: Mapping[str, Any]) -> Document:
    price = None
    if value["price_minor"] is not None:
        price = Money(minor_units=value["price_minor"], currency=value["currency"])
    return Document(
        row=row,
        product_id=ProductId(value["product_id"]),
        title=value["title"],
        description=value["description"],
        brand=value["brand"],
        category_path=tuple(value["category_path"]),
        price=price,
        attributes={name: tuple(values) for name, values in value["attributes"]},
        in_stock=value["in_stock"],
        locale=value["locale"],
        num_images=value["num_images"],
    )
