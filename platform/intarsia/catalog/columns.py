"""Build `ProductColumns` from the products table in one pass, save them as NumPy files, and open them memory-mapped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import ArtifactError
from intarsia.ids import ProductId
from intarsia.lake import Entry
from intarsia.records.feature_matrix import Ragged
from intarsia.records.product_columns import CATEGORY_SEPARATOR, WORD_FIELDS, ProductColumns
from intarsia.tables.products import COLUMNS_WITHOUT_IMAGE_BYTES, PRODUCTS
from intarsia.text import words

_COLUMNS_READ = (*COLUMNS_WITHOUT_IMAGE_BYTES, "images.list.element.sha256")
_FLOATS = ("price_minor", "in_stock", "updated_at_s", "num_images", "description_chars", "is_zh")
_CODES = ("currency", "brand")
_RAGGED = ("categories", "attributes", *(f"words_{field}" for field in WORD_FIELDS))
_IDS, _VOCABULARIES = "product_ids.json", "vocabularies.json"


def build_columns(products: Entry) -> ProductColumns:
    """Build the columns of a published products table in one pass; image bytes are not read."""
    builder = _Builder()
    for batch in PRODUCTS.batches(products, _COLUMNS_READ):
        for row in batch.to_pylist():
            builder.add(row)
    return builder.build()


def save_columns(columns: ProductColumns, folder: Path) -> None:
    """Write the columns into a folder: one `.npy` per array (two per ragged column) and two JSON files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*_FLOATS, *_CODES):
        np.save(folder / f"{name}.npy", getattr(columns, name))
    for name, ragged in zip(
        _RAGGED, (columns.categories, columns.attributes, *(columns.words[f] for f in WORD_FIELDS)), strict=True
    ):
        np.save(folder / f"{name}.values.npy", ragged.values)
        np.save(folder / f"{name}.offsets.npy", ragged.offsets)
    _write_json(folder / _IDS, list(columns.product_ids))
    _write_json(folder / _VOCABULARIES, {name: list(codes) for name, codes in columns.vocabularies.items()})


def open_columns(folder: Path) -> ProductColumns:
    """Open the columns that `save_columns` wrote; the arrays are memory-mapped and read-only, so replicas share them.

    Raises:
        ArtifactError: a file is missing or damaged, or the files have different row counts.
    """
    try:
        arrays = {name: _open_array(folder / f"{name}.npy") for name in (*_FLOATS, *_CODES)}
        ragged = {
            name: Ragged(_open_array(folder / f"{name}.values.npy"), _open_array(folder / f"{name}.offsets.npy"))
            for name in _RAGGED
        }
        product_ids = tuple(map(ProductId, json.loads((folder / _IDS).read_text(encoding="utf-8"))))
        terms: Mapping[str, list[str]] = json.loads((folder / _VOCABULARIES).read_text(encoding="utf-8"))
    except (OSError, ValueError, EOFError, AssertionError) as error:
        raise ArtifactError(
            f"product columns in {folder} cannot be read: {error}. Fix: run build_indexes again"
        ) from None
    lengths = {len(product_ids), *map(len, arrays.values()), *map(len, ragged.values())}
    if len(lengths) != 1:
        raise ArtifactError(
            f"product columns in {folder} have {sorted(lengths)} rows, not one number. Fix: run build_indexes again"
        )
    return ProductColumns(
        product_ids=product_ids,
        **arrays,
        categories=ragged["categories"],
        attributes=ragged["attributes"],
        words={field: ragged[f"words_{field}"] for field in WORD_FIELDS},
        vocabularies={name: {term: code for code, term in enumerate(strings)} for name, strings in terms.items()},
    )


class _Builder:
    """Collects row after row. Codes are assigned in order of occurrence and renumbered to sorted order at the end."""

    def __init__(self) -> None:
        self._ids: list[ProductId] = []
        self._floats: dict[str, list[float]] = {name: [] for name in _FLOATS}
        self._codes: dict[str, list[int]] = {name: [] for name in _CODES}
        self._lists: dict[str, _RaggedBuilder] = {name: _RaggedBuilder() for name in _RAGGED}
        self._vocabularies: dict[str, dict[str, int]] = {
            name: {} for name in ("currency", "brand", "category", "attribute", "word")
        }

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row of `products`."""
        assert not self._ids or row["product_id"] > self._ids[-1], "products ascending by id"
        self._ids.append(ProductId(row["product_id"]))
        for name, value in _numbers(row).items():
            self._floats[name].append(value)
        for name in _CODES:
            self._codes[name].append(self._code(name, row[name]) if row[name] else -1)
        path = row["category_path"]
        prefixes = [CATEGORY_SEPARATOR.join(path[: depth + 1]) for depth in range(len(path))]
        self._lists["categories"].add(self._code("category", prefix) for prefix in prefixes)
        pairs = [f"{name}={value}" for name, values in row["attributes"] for value in values]
        self._lists["attributes"].add(self._code("attribute", pair) for pair in pairs)
        for field, texts in _texts(row).items():
            self._lists[f"words_{field}"].add(self._code("word", word) for text in texts for word in words(text))

    def build(self) -> ProductColumns:
        """The columns of all rows that were added."""
        ranks = {name: _ranks(codes) for name, codes in self._vocabularies.items()}
        ragged = {
            name: self._lists[name].build(ranks[vocabulary], is_sorted=name == "attributes")
            for name, vocabulary in zip(_RAGGED, ("category", "attribute", *["word"] * len(WORD_FIELDS)), strict=True)
        }
        arrays: dict[str, NDArray[Any]] = {
            **{name: np.array(values, np.float64) for name, values in self._floats.items()},
            **{name: _recoded(np.array(values, np.int32), ranks[name]) for name, values in self._codes.items()},
        }
        return ProductColumns(
            product_ids=tuple(self._ids),
            **arrays,
            categories=ragged["categories"],
            attributes=ragged["attributes"],
            words={field: ragged[f"words_{field}"] for field in WORD_FIELDS},
            vocabularies={
                name: {term: code for code, term in enumerate(sorted(terms))}
                for name, terms in self._vocabularies.items()
            },
        )

    def _code(self, vocabulary: str, term: str) -> int:
        codes = self._vocabularies[vocabulary]
        return codes.setdefault(term, len(codes))


class _RaggedBuilder:
    def __init__(self) -> None:
        self._values: list[NDArray[np.int32]] = []
        self._lengths: list[int] = []

    def add(self, codes: Iterator[int]) -> None:
        self._values.append(np.fromiter(codes, np.int32))
        self._lengths.append(len(self._values[-1]))

    def build(self, rank: NDArray[np.int32], *, is_sorted: bool) -> Ragged:
        recoded = [_recoded(values, rank) for values in self._values]
        if is_sorted:
            recoded = [np.unique(values) for values in recoded]
        lengths = [len(values) for values in recoded]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Ragged(np.concatenate([np.zeros(0, np.int32), *recoded]), offsets)


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    price, in_stock, updated_at = row["price_minor"], row["in_stock"], row["updated_at"]
    return {
        "price_minor": np.nan if price is None else price,
        "in_stock": np.nan if in_stock is None else in_stock,
        "updated_at_s": np.nan if updated_at is None else updated_at.timestamp(),
        "num_images": len(row["images"]),
        "description_chars": len(row["description"]),
        "is_zh": row["locale"] == "zh",
    }


def _texts(row: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        "title": [row["title"]],
        "description": [row["description"]],
        "brand": [row["brand"]],
        "category": row["category_path"],
        "attributes": [value for _, values in row["attributes"] for value in values],
    }


def _ranks(codes: Mapping[str, int]) -> NDArray[np.int32]:
    """Code in order of occurrence -> rank among the sorted terms."""
    rank = np.zeros(len(codes), np.int32)
    for position, term in enumerate(sorted(codes)):
        rank[codes[term]] = position
    return rank


def _recoded(values: NDArray[np.int32], rank: NDArray[np.int32]) -> NDArray[np.int32]:
    recoded = values.copy()
    recoded[values >= 0] = rank[values[values >= 0]]
    return recoded


def _open_array(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
