"""A raw row to a clean product with its pictures, or to the reason why not. The mapping says what is what; nothing here knows a shop.

Duplicates, spelling variants and shared placeholder pictures need the whole catalog: `settle` sees to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from intarsia.catalog.attributes import attributes_of, variants_of
from intarsia.catalog.categories import category_path
from intarsia.catalog.cell_parsers import id_of, is_blank, pick, plain_text, text_of, time_of, truth_of
from intarsia.catalog.images import ImageReader, image_cells
from intarsia.catalog.joins import SideFiles
from intarsia.catalog.mapping import CatalogMapping, Columns, column_list
from intarsia.catalog.money import parse_price
from intarsia.catalog.raw_rows import Defect, RawRow
from intarsia.catalog.validate import Reason, Reject, RowFault, shown
from intarsia.config import check_range, setting
from intarsia.ids import ProductId
from intarsia.image import ImageFault
from intarsia.records.product import ImageRef, Money, Product
from intarsia.text import detect_locale, fold

_LOCALES = ("en", "zh")


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanLimits:
    """How long texts may be, in characters after cleaning."""

    max_id_chars: int = setting("a longer id loses the row", 200)
    max_title_chars: int = setting("a longer title loses the row: it is no title", 500)
    max_description_chars: int = setting("a longer description is cut, and the rejected table says so", 50_000)

    def __post_init__(self) -> None:
        check_range(self, "max_id_chars", "max_title_chars", "max_description_chars", low=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What became of a row: a product with its pictures' bytes, or none and exactly one reject that is `lost`."""

    product: Product | None
    image_bytes: tuple[bytes, ...] = ()
    rejects: tuple[Reject, ...] = ()


class RowCleaner:
    """Applies one mapping; opened once per worker, since it holds the side files."""

    def __init__(self, mapping: CatalogMapping, folder: Path, limits: CleanLimits | None = None) -> None:
        """Open the side files.

        Args:
            mapping: what is what.
            folder: the data's folder: pictures and side files are relative to it.
            limits: longest texts.

        Raises:
            DataError: a side file cannot be read.
        """
        self._tools = _Tools(
            mapping=mapping,
            limits=limits or CleanLimits(),
            side_files=SideFiles(mapping.merge, folder),
            images=ImageReader(mapping.images, folder / mapping.images.root) if mapping.images else None,
            placeholders=frozenset(fold(text) for text in mapping.placeholders),
        )

    def clean(self, file: str, row: RawRow) -> Cleaned:
        """The product of a row, or why there is none."""
        return _RowInHand(self._tools, file, row).cleaned()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tools:
    mapping: CatalogMapping
    limits: CleanLimits
    side_files: SideFiles
    images: ImageReader | None
    placeholders: frozenset[str]


class _RowInHand:
    """One row while it is being cleaned, with the rejects so far."""

    def __init__(self, tools: _Tools, file: str, row: RawRow) -> None:
        self._tools, self._mapping, self._limits = tools, tools.mapping, tools.limits
        self._file, self._row = file, row
        self._key = ""
        self._rejects: list[Reject] = []

    def cleaned(self) -> Cleaned:
        value = self._row.value
        try:
            if isinstance(value, Defect):
                raise RowFault(value.reason, "row", value.found, value.fix)
            raw = self._tools.side_files.merged(value)
            self._key = self._product_id(raw)
            product, image_bytes = self._product(raw)
        except RowFault as fault:
            lost = self._reject(fault.field, fault.reason, fault.found, fault.fix, lost=True)
            return Cleaned(product=None, rejects=(lost,))
        except RecursionError:
            lost = self._reject("row", Reason.WRONG_TYPE, "lists in lists without end", "write values flat", lost=True)
            return Cleaned(product=None, rejects=(lost,))
        return Cleaned(product=product, image_bytes=image_bytes, rejects=tuple(self._rejects))

    def _product(self, raw: Mapping[str, Any]) -> tuple[Product, tuple[bytes, ...]]:
        mapping = self._mapping
        title = self._title(raw)
        description = self._description(raw)
        variants = variants_of(raw, mapping)
        price = self._price(raw, variants)
        in_stock = self._in_stock(raw, variants)
        product = Product(
            product_id=ProductId(self._key),
            title=title,
            description=description,
            brand=self._first_text(raw, mapping.brand, "brand"),
            category_path=self._category(raw),
            price=price,
            attributes=attributes_of(raw, variants, mapping),
            in_stock=in_stock,
            locale=self._locale(raw, title, description),
            updated_at=self._updated_at(raw),
        )
        refs_and_bytes = self._read_images(raw, variants)
        images = tuple(ref for ref, _ in refs_and_bytes)
        return replace(product, images=images), tuple(content for _, content in refs_and_bytes)

    def _product_id(self, raw: Mapping[str, Any]) -> str:
        column = self._mapping.product_id
        found = id_of(pick(raw, column), column)
        if not found:
            raise RowFault(
                Reason.ID_MISSING, column, shown(pick(raw, column)), "give each row an id that stays the same"
            )
        if len(found) > self._limits.max_id_chars:
            raise RowFault(Reason.ID_TOO_LONG, column, found, f"use at most {self._limits.max_id_chars} characters")
        return found

    def _title(self, raw: Mapping[str, Any]) -> str:
        title = self._joined(raw, self._mapping.title, "title")
        if not title or fold(title) in self._tools.placeholders:
            raise RowFault(Reason.TITLE_MISSING, "title", title, "give the product a title")
        if len(title) > self._limits.max_title_chars:
            fix = f"write at most {self._limits.max_title_chars} characters; the rest belongs into the description"
            raise RowFault(Reason.TITLE_TOO_LONG, "title", f"{len(title)} characters: {title}", fix)
        return title

    def _description(self, raw: Mapping[str, Any]) -> str:
        texts: list[str] = []
        for column in column_list(self._mapping.description):
            text = plain_text(text_of(pick(raw, column), column), self._mapping.description_html)
            if text and fold(text) in self._tools.placeholders:
                self._reject(
                    column, Reason.DESCRIPTION_PLACEHOLDER, text, "write what the product is; this text is left out"
                )
            elif text:
                texts.append(text)
        description = " ".join(texts)
        longest = self._limits.max_description_chars
        if len(description) > longest:
            found, fix = f"{len(description)} characters", f"write at most {longest}; what comes after is cut"
            self._reject("description", Reason.DESCRIPTION_TOO_LONG, found, fix)
            description = description[:longest].rstrip()
        return description

    def _category(self, raw: Mapping[str, Any]) -> tuple[str, ...]:
        shape = self._mapping.category
        if shape is None:
            return ()
        path = category_path(raw, shape)
        if not path:
            found = shown([pick(raw, column) for column in column_list(shape.columns)])
            self._reject(
                "category", Reason.CATEGORY_MISSING, found, "place the product in the category tree; it stays without"
            )
        return path

    def _price(self, raw: Mapping[str, Any], variants: list[Mapping[str, Any]]) -> Money | None:
        shape, variant_column = self._mapping.price, self._mapping.variants and self._mapping.variants.price
        if shape is None:
            return None
        told = pick(raw, shape.currency_column) if shape.currency_column else None
        currency = shape.currency if is_blank(told) else text_of(told, shape.currency_column or "")
        own = pick(raw, shape.column)
        cells = [own] if not is_blank(own) else [pick(v, variant_column) for v in variants] if variant_column else []
        prices = [
            parse_price(cell, currency, unit=shape.unit, decimal=shape.decimal)
            for cell in cells
            if not is_blank(cell) and not (isinstance(cell, str) and fold(cell) in self._tools.placeholders)
        ]
        return min(prices, key=lambda price: price.minor_units, default=None)

    def _in_stock(self, raw: Mapping[str, Any], variants: list[Mapping[str, Any]]) -> bool | None:
        own = [truth_of(pick(raw, column), column) for column in column_list(self._mapping.in_stock)]
        said = [truth for truth in own if truth is not None]
        column = self._mapping.variants and self._mapping.variants.in_stock
        if column:
            of_variants = [truth for v in variants if (truth := truth_of(pick(v, column), column)) is not None]
            if of_variants:
                said.append(any(of_variants))
        return all(said) if said else None

    def _locale(self, raw: Mapping[str, Any], title: str, description: str) -> str:
        column = self._mapping.locale_column
        told = text_of(pick(raw, column), column) if column else ""
        if told:
            language = fold(told).replace("_", "-").split("-")[0]
            if language not in _LOCALES:
                raise RowFault(
                    Reason.LOCALE_UNKNOWN, column or "", told, f"use one of {', '.join(_LOCALES)}, or leave it empty"
                )
            return language
        return detect_locale(f"{title} {description}") if self._mapping.locale == "detect" else self._mapping.locale

    def _updated_at(self, raw: Mapping[str, Any]) -> datetime | None:
        column = self._mapping.updated_at
        return time_of(pick(raw, column), self._mapping.updated_at_unit, column) if column else None

    def _read_images(self, raw: Mapping[str, Any], variants: list[Mapping[str, Any]]) -> list[tuple[ImageRef, bytes]]:
        shape = self._mapping.images
        if shape is None or self._tools.images is None:
            return []
        cells = list(image_cells(raw, shape.columns, shape.separator))
        if self._mapping.variants is not None:
            for variant in variants:
                cells.extend(image_cells(variant, self._mapping.variants.images, shape.separator))
        return self._tools.images.read(cells, self._refuse_image)

    def _refuse_image(self, reason: Reason | ImageFault, found: str, fix: str) -> None:
        self._reject("images", reason, found, fix)

    def _joined(self, raw: Mapping[str, Any], columns: Columns, field: str) -> str:
        texts = [plain_text(text_of(pick(raw, column), field)) for column in column_list(columns)]
        return " ".join(text for text in texts if text)

    def _first_text(self, raw: Mapping[str, Any], columns: Columns, field: str) -> str:
        for column in column_list(columns):
            text = plain_text(text_of(pick(raw, column), field))
            if text and fold(text) not in self._tools.placeholders:
                return text
        return ""

    def _reject(self, field: str, reason: Reason | ImageFault, found: str, fix: str, *, lost: bool = False) -> Reject:
        reject = Reject(
            file=self._file,
            row=self._row.number,
            key=self._key,
            field=field,
            reason=reason,
            found=shown(found),
            fix=fix,
            lost=lost,
        )
        self._rejects.append(reject)
        return reject
