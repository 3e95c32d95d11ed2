"""What only the whole catalog can tell, between the two passes of an ingest: repeated ids, duplicate groups, spellings, shared placeholder
pictures; and the plan by which the second pass writes the products in the order of their ids.

Memory grows by about two hundred bytes per product, never with its pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from intarsia.catalog.canonical_spelling import SpellingCount, Spellings, respelled
from intarsia.catalog.mapping import ImagesShape
from intarsia.catalog.near_duplicates import DedupKey, duplicate_groups
from intarsia.catalog.sources import FileSplit
from intarsia.catalog.staging import read_sheet, rows_at, unit_files
from intarsia.catalog.validate import Reason, Reject
from intarsia.image import ImageFault
from intarsia.tables.products import PRODUCTS

_PART_ROWS = 1024
_PART_BYTES = 32_000_000  # of pictures: a writer holds one part


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRef:
    """Where a cleaned product lies: its unit, its place in the unit's products, and the group of near-duplicates it belongs to."""

    unit: int
    place: int
    duplicate_group: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPart:
    """One part of the products table to be written."""

    number: int
    places: tuple[RowRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The outcome: parts in the order of product ids, rejects of this pass by (unit, reject), and what the writers must know.

    `num_pictures` counts those that stay.
    """

    parts: tuple[OutputPart, ...]
    rejects: tuple[tuple[int, Reject], ...]
    spellings: Spellings
    placeholders: frozenset[str]
    num_products: int
    num_images: int
    num_grouped: int


@dataclass(slots=True)
class _Fact:
    """One product of the first pass."""

    product_id: str
    unit: int
    place: int
    row: int
    image_bytes: int
    image_sha256: list[str]
    look: DedupKey


def resolve_duplicates(scratch: Path, units: Sequence[FileSplit], images: ImagesShape | None) -> Resolution:
    """Read the facts of all units and decide; the first row of a repeated id stays, in the order of the files."""
    spelling_count = SpellingCount()
    kept: dict[str, _Fact] = {}
    rejects: list[tuple[int, Reject]] = []
    for fact in _facts(scratch, units, spelling_count):
        first = kept.setdefault(fact.product_id, fact)
        if first is not fact:
            rejects.append((fact.unit, _repeated(fact, first, units)))
    facts = [kept[product_id] for product_id in sorted(kept)]
    placeholders = _shared_images(facts, images.placeholder_min_products if images else 0)
    for fact in facts:
        for sha256 in fact.image_sha256:
            if sha256 in placeholders:
                rejects.append((fact.unit, _shared(fact, sha256, placeholders[sha256], units)))
    first_of_N = duplicate_groups([_look(fact, placeholders) for fact in facts])
    group_sizes = Counter(first_of_N.tolist())
    places = [
        RowRef(
            unit=fact.unit,
            place=fact.place,
            duplicate_group=facts[first].product_id if group_sizes[first] > 1 else None,
        )
        for fact, first in zip(facts, first_of_N.tolist(), strict=True)
    ]
    return Resolution(
        parts=tuple(_parts(places, [fact.image_bytes for fact in facts])),
        rejects=tuple(rejects),
        spellings=spelling_count.chosen(),
        placeholders=frozenset(placeholders),
        num_products=len(facts),
        num_images=sum(sha256 not in placeholders for fact in facts for sha256 in fact.image_sha256),
        num_grouped=sum(place.duplicate_group is not None for place in places),
    )


class PartWriter:
    """Writes parts of the products table from the scratch folder; opened once per worker process."""

    def __init__(self, scratch: Path, folder: Path, spellings: Spellings, placeholders: frozenset[str]) -> None:
        self._scratch, self._folder = scratch, folder
        self._spellings, self._placeholders = spellings, placeholders

    def __call__(self, part: OutputPart) -> int:
        """Write one part; returns its number of rows."""
        by_unit: dict[int, list[int]] = {}
        for place in part.places:
            by_unit.setdefault(place.unit, []).append(place.place)
        rows: dict[tuple[int, int], dict[str, Any]] = {}
        for unit, places in by_unit.items():
            path = self._scratch / unit_files(unit)[0]
            rows.update(zip([(unit, p) for p in sorted(places)], rows_at(path, places), strict=True))
        ordered = [self._finished(rows.pop((place.unit, place.place)), place) for place in part.places]
        PRODUCTS.write_part(PRODUCTS.from_rows(ordered), self._folder, part.number)
        return len(ordered)

    def _finished(self, row: dict[str, Any], place: RowRef) -> dict[str, Any]:
        images = [image for image in row["images"] if image["sha256"] not in self._placeholders]
        return respelled({**row, "images": images, "duplicate_group": place.duplicate_group}, self._spellings)


def _facts(scratch: Path, units: Sequence[FileSplit], spelling_count: SpellingCount) -> Iterator[_Fact]:
    for unit in units:
        table: pa.Table = read_sheet(scratch / unit_files(unit.number)[1])
        for place, row in enumerate(table.to_pylist()):
            spelling_count.add(row["brand"], row["category_path"], row["attributes"])
            yield _Fact(
                product_id=row["product_id"],
                unit=unit.number,
                place=place,
                row=row["row"],
                image_bytes=row["image_bytes"],
                image_sha256=row["image_sha256"],
                look=DedupKey(
                    text_key=row["text_key"],
                    description_key=row["description_key"],
                    simhash=row["simhash"],
                    numbers_key=row["numbers_key"],
                    title=row["title"],
                    phashes=tuple(row["phashes"]),
                ),
            )


def _shared_images(facts: Sequence[_Fact], min_products: int) -> dict[str, int]:
    """sha256 -> number of products, of the pictures that so many products share that they show none of them."""
    if not min_products:
        return {}
    count = Counter(sha256 for fact in facts for sha256 in fact.image_sha256)
    return {sha256: num for sha256, num in count.items() if num >= min_products}


def _look(fact: _Fact, placeholders: dict[str, int]) -> DedupKey:
    if not any(sha256 in placeholders for sha256 in fact.image_sha256):
        return fact.look
    real = tuple(
        phash for phash, sha256 in zip(fact.look.phashes, fact.image_sha256, strict=True) if sha256 not in placeholders
    )
    return replace(fact.look, phashes=real)


def _parts(places: Sequence[RowRef], image_bytes: Sequence[int]) -> Iterator[OutputPart]:
    """Parts of at most 1,024 products and about 32 MB of pictures; at least one, so that an empty table can be read."""
    number, begin, size = 0, 0, 0
    for end, num_bytes in enumerate(image_bytes):
        if end > begin and (end - begin == _PART_ROWS or size + num_bytes > _PART_BYTES):
            yield OutputPart(number=number, places=tuple(places[begin:end]))
            number, begin, size = number + 1, end, 0
        size += num_bytes
    yield OutputPart(number=number, places=tuple(places[begin:]))


def _repeated(fact: _Fact, first: _Fact, units: Sequence[FileSplit]) -> Reject:
    found = f"{fact.product_id}, also in {units[first.unit].file} row {first.row}"
    fix = "give each product its own id; the first row is kept"
    return _reject(fact, units, "product_id", Reason.DUPLICATE_ID, found, fix, lost=True)


def _shared(fact: _Fact, sha256: str, num_products: int, units: Sequence[FileSplit]) -> Reject:
    found = f"{sha256}, shared by {num_products} products"
    fix = "take a picture of this product; or raise images.placeholder_min_products if it is one"
    return _reject(fact, units, "images", ImageFault.PLACEHOLDER, found, fix, lost=False)


def _reject(
    fact: _Fact,
    units: Sequence[FileSplit],
    field: str,
    reason: Reason | ImageFault,
    found: str,
    fix: str,
    *,
    lost: bool,
) -> Reject:
    file = units[fact.unit].file
    return Reject(
        file=file, row=fact.row, key=fact.product_id, field=field, reason=reason, found=found, fix=fix, lost=lost
    )
