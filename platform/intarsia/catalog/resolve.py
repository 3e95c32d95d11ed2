"""Resolve what needs the whole catalog, between the two passes of an ingest.

Drops rows with a repeated id, groups near-duplicates, chooses one spelling per value, finds placeholder images that
many products share, and plans the output parts in the order of product ids. Memory grows by about 200 bytes per
product; image bytes are never held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from intarsia.catalog.canonical_spelling import SpellingCounter, Spellings, apply_spellings
from intarsia.catalog.mapping import ImagesShape
from intarsia.catalog.near_duplicates import DedupKey, duplicate_groups
from intarsia.catalog.rejects import Reason, Reject
from intarsia.catalog.sources import FileSplit
from intarsia.catalog.staging import read_staging_file, staging_files, take_rows
from intarsia.image import ImageFault
from intarsia.tables.products import PRODUCTS

_PART_ROWS = 1024
_PART_BYTES = 32_000_000  # of images: a writer holds one part in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRef:
    """Position of a cleaned product (split number, index in its file), and the id of its duplicate group or None."""

    split: int
    index: int
    duplicate_group: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPart:
    """One part of the products table to be written."""

    number: int
    rows: tuple[RowRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Result of `resolve_duplicates`.

    Attributes:
        parts: the output parts, in the order of product ids.
        rejects: rejects of this step, each with the number of its split.
        spellings: spelling to use per field and value.
        placeholders: sha256 of images that are placeholders.
        num_products: products to be written.
        num_images: images to be written, without placeholders.
        num_grouped: products that belong to a group of near-duplicates.
    """

    parts: tuple[OutputPart, ...]
    rejects: tuple[tuple[int, Reject], ...]
    spellings: Spellings
    placeholders: frozenset[str]
    num_products: int
    num_images: int
    num_grouped: int


@dataclass(slots=True)
class _StagedProduct:
    product_id: str
    split: int
    index: int
    row: int
    image_bytes: int
    image_sha256: list[str]
    key: DedupKey


def resolve_duplicates(staging: Path, splits: Sequence[FileSplit], images: ImagesShape | None) -> Resolution:
    """Resolve a catalog from the staging files of all splits; of a repeated id the first row in file order is kept."""
    spelling_counter = SpellingCounter()
    kept: dict[str, _StagedProduct] = {}
    rejects: list[tuple[int, Reject]] = []
    for product in _staged_products(staging, splits, spelling_counter):
        first = kept.setdefault(product.product_id, product)
        if first is not product:
            rejects.append((product.split, _duplicate_id(product, first, splits)))
    products = [kept[product_id] for product_id in sorted(kept)]
    placeholders = _shared_images(products, images.placeholder_min_products if images else 0)
    for product in products:
        for sha256 in product.image_sha256:
            if sha256 in placeholders:
                rejects.append((product.split, _shared_image(product, sha256, placeholders[sha256], splits)))
    first_of_N = duplicate_groups([_without_placeholders(product, placeholders) for product in products])
    group_sizes = Counter(first_of_N.tolist())
    rows = [
        RowRef(
            split=product.split,
            index=product.index,
            duplicate_group=products[first].product_id if group_sizes[first] > 1 else None,
        )
        for product, first in zip(products, first_of_N.tolist(), strict=True)
    ]
    return Resolution(
        parts=tuple(_parts(rows, [product.image_bytes for product in products])),
        rejects=tuple(rejects),
        spellings=spelling_counter.most_frequent(),
        placeholders=frozenset(placeholders),
        num_products=len(products),
        num_images=sum(sha256 not in placeholders for product in products for sha256 in product.image_sha256),
        num_grouped=sum(row.duplicate_group is not None for row in rows),
    )


class PartWriter:
    """Writes parts of the products table from the staging files; opened once per worker process."""

    def __init__(self, staging: Path, folder: Path, spellings: Spellings, placeholders: frozenset[str]) -> None:
        self._staging, self._folder = staging, folder
        self._spellings, self._placeholders = spellings, placeholders

    def __call__(self, part: OutputPart) -> int:
        """Write one part; returns its number of rows."""
        by_split: dict[int, list[int]] = {}
        for ref in part.rows:
            by_split.setdefault(ref.split, []).append(ref.index)
        staged: dict[tuple[int, int], dict[str, Any]] = {}
        for split, indices in by_split.items():
            path = self._staging / staging_files(split)[0]
            staged.update(zip([(split, i) for i in sorted(indices)], take_rows(path, indices), strict=True))
        rows = [self._final_row(staged.pop((ref.split, ref.index)), ref) for ref in part.rows]
        PRODUCTS.write_part(PRODUCTS.from_rows(rows), self._folder, part.number)
        return len(rows)

    def _final_row(self, row: dict[str, Any], ref: RowRef) -> dict[str, Any]:
        images = [image for image in row["images"] if image["sha256"] not in self._placeholders]
        return apply_spellings({**row, "images": images, "duplicate_group": ref.duplicate_group}, self._spellings)


def _staged_products(
    staging: Path, splits: Sequence[FileSplit], spelling_counter: SpellingCounter
) -> Iterator[_StagedProduct]:
    for split in splits:
        table: pa.Table = read_staging_file(staging / staging_files(split.number)[1])
        for index, row in enumerate(table.to_pylist()):
            spelling_counter.add(row["brand"], row["category_path"], row["attributes"])
            yield _StagedProduct(
                product_id=row["product_id"],
                split=split.number,
                index=index,
                row=row["row"],
                image_bytes=row["image_bytes"],
                image_sha256=row["image_sha256"],
                key=DedupKey(
                    text_key=row["text_key"],
                    description_key=row["description_key"],
                    simhash=row["simhash"],
                    numbers_key=row["numbers_key"],
                    title=row["title"],
                    phashes=tuple(row["phashes"]),
                ),
            )


def _shared_images(products: Sequence[_StagedProduct], min_products: int) -> dict[str, int]:
    """sha256 -> number of products, of the images that at least `min_products` products share; none when it is 0."""
    if not min_products:
        return {}
    count = Counter(sha256 for product in products for sha256 in product.image_sha256)
    return {sha256: num for sha256, num in count.items() if num >= min_products}


def _without_placeholders(product: _StagedProduct, placeholders: dict[str, int]) -> DedupKey:
    if not any(sha256 in placeholders for sha256 in product.image_sha256):
        return product.key
    phashes = tuple(
        phash
        for phash, sha256 in zip(product.key.phashes, product.image_sha256, strict=True)
        if sha256 not in placeholders
    )
    return replace(product.key, phashes=phashes)


def _parts(rows: Sequence[RowRef], image_bytes: Sequence[int]) -> Iterator[OutputPart]:
    """Parts of at most 1,024 products and about 32 MB of images; at least one, so that an empty table can be read."""
    number, begin, size = 0, 0, 0
    for end, num_bytes in enumerate(image_bytes):
        if end > begin and (end - begin == _PART_ROWS or size + num_bytes > _PART_BYTES):
            yield OutputPart(number=number, rows=tuple(rows[begin:end]))
            number, begin, size = number + 1, end, 0
        size += num_bytes
    yield OutputPart(number=number, rows=tuple(rows[begin:]))


def _duplicate_id(product: _StagedProduct, first: _StagedProduct, splits: Sequence[FileSplit]) -> Reject:
    found = f"{product.product_id}, also in {splits[first.split].file} row {first.row}"
    fix = "give each product its own id; the first row is kept"
    return _reject(product, splits, "product_id", Reason.DUPLICATE_ID, found, fix, dropped=True)


def _shared_image(product: _StagedProduct, sha256: str, num_products: int, splits: Sequence[FileSplit]) -> Reject:
    found = f"{sha256}, shared by {num_products} products"
    fix = "give the product an image of its own; if this is one, raise images.placeholder_min_products"
    return _reject(product, splits, "images", ImageFault.PLACEHOLDER, found, fix, dropped=False)


def _reject(
    product: _StagedProduct,
    splits: Sequence[FileSplit],
    field: str,
    reason: Reason | ImageFault,
    found: str,
    fix: str,
    *,
    dropped: bool,
) -> Reject:
    return Reject(
        file=splits[product.split].file,
        row=product.row,
        key=product.product_id,
        field=field,
        reason=reason,
        found=found,
        fix=fix,
        dropped=dropped,
    )
