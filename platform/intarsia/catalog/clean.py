"""Clean a raw row into a product with its images, or reject it with a reason, as the mapping says.

Duplicates, spellings and shared placeholder images need the whole catalog: see `resolve.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from intarsia.catalog.attributes import parse_attributes, parse_variants
from intarsia.catalog.categories import parse_category_path
from intarsia.catalog.cell_parsers import (
    get_cell,
    is_blank,
    parse_bool,
    parse_id,
    parse_text,
    parse_time,
    plain_text,
)
from intarsia.catalog.images import ImageReader, image_cells
from intarsia.catalog.joins import SideFiles
from intarsia.catalog.mapping import CatalogMapping, Columns, column_list
from intarsia.catalog.money import parse_price
from intarsia.catalog.rejects import Reason, Reject, RowError, excerpt
from intarsia.catalog.sources import RawRow, UnreadableRow
from intarsia.config import check_range, setting
from intarsia.ids import ProductId
from intarsia.image import ImageFault
from intarsia.records.product import ImageRef, Money, Product
from intarsia.text import detect_locale, fold

_LOCALES = ("en", "zh")


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanLimits:
    """Maximum text lengths, in characters after cleaning."""

    max_id_chars: int = setting("a row with a longer id is dropped", 200, advanced=True)
    max_title_chars: int = setting("a row with a longer title is dropped", 500, advanced=True)
    max_description_chars: int = setting(
        "a longer description is cut, and reported in rejected_products", 50_000, advanced=True
    )

    def __post_init__(self) -> None:
        check_range(self, "max_id_chars", "max_title_chars", "max_description_chars", low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanedRow:
    """Result of cleaning a row: a product with its image bytes, or None and exactly one reject that is `dropped`."""

    product: Product | None
    image_bytes: tuple[bytes, ...] = ()
    rejects: tuple[Reject, ...] = ()


class RowCleaner:
    """Cleans rows by one mapping; opened once per worker, since it holds the side files in memory."""

    def __init__(self, mapping: CatalogMapping, folder: Path, limits: CleanLimits | None = None) -> None:
        """Read the side files.

        Args:
            mapping: the column mapping.
            folder: folder that image and side-file paths are relative to.
            limits: maximum text lengths; default `CleanLimits()`.

        Raises:
            DataError: a side file cannot be read.
        """
        self._context = _Context(
            mapping=mapping,
            limits=limits or CleanLimits(),
            side_files=SideFiles(mapping.merge, folder),
            images=ImageReader(mapping.images, folder / mapping.images.root) if mapping.images else None,
            placeholders=frozenset(fold(text) for text in mapping.placeholders),
        )

    def clean(self, file: str, row: RawRow) -> CleanedRow:
        """Clean one row of `file`."""
        return _RowParser(self._context, file, row).parse()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    mapping: CatalogMapping
    limits: CleanLimits
    side_files: SideFiles
    images: ImageReader | None
    placeholders: frozenset[str]


class _RowParser:
    """Parses one row and collects its rejects."""

    def __init__(self, context: _Context, file: str, row: RawRow) -> None:
        self._context, self._mapping, self._limits = context, context.mapping, context.limits
        self._file, self._row = file, row
        self._key = ""
        self._rejects: list[Reject] = []

    def parse(self) -> CleanedRow:
        value = self._row.value
        try:
            if isinstance(value, UnreadableRow):
                raise RowError(value.reason, "row", value.found, value.fix)
            raw = self._context.side_files.join(value)
            self._key = self._product_id(raw)
            product, image_bytes = self._product(raw)
        except RowError as error:
            reject = self._reject(error.field, error.reason, error.found, error.fix, dropped=True)
            return CleanedRow(product=None, rejects=(reject,))
        except RecursionError:
            reject = self._reject("row", Reason.WRONG_TYPE, "lists nested too deep", "write flat values", dropped=True)
            return CleanedRow(product=None, rejects=(reject,))
        return CleanedRow(product=product, image_bytes=image_bytes, rejects=tuple(self._rejects))

    def _product(self, raw: Mapping[str, Any]) -> tuple[Product, tuple[bytes, ...]]:
        mapping = self._mapping
        title = self._title(raw)
        description = self._description(raw)
        variants = parse_variants(raw, mapping)
        price = self._price(raw, variants)
        in_stock = self._in_stock(raw, variants)
        product = Product(
            product_id=ProductId(self._key),
            title=title,
            description=description,
            brand=self._first_text(raw, mapping.brand, "brand"),
            category_path=self._category(raw),
            price=price,
            attributes=parse_attributes(raw, variants, mapping),
            in_stock=in_stock,
            locale=self._locale(raw, title, description),
            updated_at=self._updated_at(raw),
        )
        refs_and_bytes = self._read_images(raw, variants)
        images = tuple(ref for ref, _ in refs_and_bytes)
        return replace(product, images=images), tuple(content for _, content in refs_and_bytes)

    def _product_id(self, raw: Mapping[str, Any]) -> str:
        column = self._mapping.product_id
        product_id = parse_id(get_cell(raw, column), column)
        if not product_id:
            fix = "give each row an id that stays the same"
            raise RowError(Reason.ID_MISSING, column, excerpt(get_cell(raw, column)), fix)
        if len(product_id) > self._limits.max_id_chars:
            fix = f"use at most {self._limits.max_id_chars} characters"
            raise RowError(Reason.ID_TOO_LONG, column, product_id, fix)
        return product_id

    def _title(self, raw: Mapping[str, Any]) -> str:
        title = self._joined(raw, self._mapping.title, "title")
        if not title or fold(title) in self._context.placeholders:
            raise RowError(Reason.TITLE_MISSING, "title", title, "give the product a title")
        if len(title) > self._limits.max_title_chars:
            fix = f"write at most {self._limits.max_title_chars} characters; move the rest to the description"
            raise RowError(Reason.TITLE_TOO_LONG, "title", f"{len(title)} characters: {title}", fix)
        return title

    def _description(self, raw: Mapping[str, Any]) -> str:
        texts: list[str] = []
        for column in column_list(self._mapping.description):
            text = plain_text(parse_text(get_cell(raw, column), column), self._mapping.description_html)
            if text and fold(text) in self._context.placeholders:
                fix = "describe the product; this text is left out"
                self._reject(column, Reason.DESCRIPTION_PLACEHOLDER, text, fix)
            elif text:
                texts.append(text)
        description = " ".join(texts)
        max_chars = self._limits.max_description_chars
        if len(description) > max_chars:
            found, fix = f"{len(description)} characters", f"write at most {max_chars}; the rest is cut"
            self._reject("description", Reason.DESCRIPTION_TOO_LONG, found, fix)
            description = description[:max_chars].rstrip()
        return description

    def _category(self, raw: Mapping[str, Any]) -> tuple[str, ...]:
        shape = self._mapping.category
        if shape is None:
            return ()
        path = parse_category_path(raw, shape)
        if not path:
            found = excerpt([get_cell(raw, column) for column in column_list(shape.columns)])
            fix = "give the product a category; it is kept without one"
            self._reject("category", Reason.CATEGORY_MISSING, found, fix)
        return path

    def _price(self, raw: Mapping[str, Any], variants: list[Mapping[str, Any]]) -> Money | None:
        shape, variant_column = self._mapping.price, self._mapping.variants and self._mapping.variants.price
        if shape is None:
            return None
        code = get_cell(raw, shape.currency_column) if shape.currency_column else None
        currency = shape.currency if is_blank(code) else parse_text(code, shape.currency_column or "")
        own = get_cell(raw, shape.column)
        cells = [own]
        if is_blank(own):
            cells = [get_cell(variant, variant_column) for variant in variants] if variant_column else []
        prices = [
            parse_price(cell, currency, unit=shape.unit, decimal=shape.decimal)
            for cell in cells
            if not is_blank(cell) and not (isinstance(cell, str) and fold(cell) in self._context.placeholders)
        ]
        return min(prices, key=lambda price: price.minor_units, default=None)

    def _in_stock(self, raw: Mapping[str, Any], variants: list[Mapping[str, Any]]) -> bool | None:
        cells = [parse_bool(get_cell(raw, column), column) for column in column_list(self._mapping.in_stock)]
        flags = [flag for flag in cells if flag is not None]
        column = self._mapping.variants and self._mapping.variants.in_stock
        if column:
            variant_flags = [
                flag for variant in variants if (flag := parse_bool(get_cell(variant, column), column)) is not None
            ]
            if variant_flags:
                flags.append(any(variant_flags))
        return all(flags) if flags else None

    def _locale(self, raw: Mapping[str, Any], title: str, description: str) -> str:
        column = self._mapping.locale_column
        cell = parse_text(get_cell(raw, column), column) if column else ""
        if cell:
            language = fold(cell).replace("_", "-").split("-")[0]
            if language not in _LOCALES:
                fix = f"use one of {', '.join(_LOCALES)}, or leave it empty"
                raise RowError(Reason.LOCALE_UNKNOWN, column or "", cell, fix)
            return language
        return detect_locale(f"{title} {description}") if self._mapping.locale == "detect" else self._mapping.locale

    def _updated_at(self, raw: Mapping[str, Any]) -> datetime | None:
        column = self._mapping.updated_at
        return parse_time(get_cell(raw, column), self._mapping.updated_at_unit, column) if column else None

    def _read_images(self, raw: Mapping[str, Any], variants: list[Mapping[str, Any]]) -> list[tuple[ImageRef, bytes]]:
        shape = self._mapping.images
        if shape is None or self._context.images is None:
            return []
        cells = list(image_cells(raw, shape.columns, shape.separator))
        if self._mapping.variants is not None:
            for variant in variants:
                cells.extend(image_cells(variant, self._mapping.variants.images, shape.separator))
        return self._context.images.read(cells, self._reject_image)

    def _reject_image(self, reason: Reason | ImageFault, found: str, fix: str) -> None:
        self._reject("images", reason, found, fix)

    def _joined(self, raw: Mapping[str, Any], columns: Columns, field: str) -> str:
        texts = [plain_text(parse_text(get_cell(raw, column), field)) for column in column_list(columns)]
        return " ".join(text for text in texts if text)

    def _first_text(self, raw: Mapping[str, Any], columns: Columns, field: str) -> str:
        for column in column_list(columns):
            text = plain_text(parse_text(get_cell(raw, column), field))
            if text and fold(text) not in self._context.placeholders:
                return text
        return ""

    def _reject(
        self, field: str, reason: Reason | ImageFault, found: str, fix: str, *, dropped: bool = False
    ) -> Reject:
        reject = Reject(
            file=self._file,
            row=self._row.number,
            key=self._key,
            field=field,
            reason=reason,
            found=excerpt(found),
            fix=fix,
            dropped=dropped,
        )
        self._rejects.append(reject)
        return reject
