"""The mapping file: maps the columns of a products file to product fields.

A column is named as in the file; `a.b` is key b of the object in column a. Leave a setting out when the file has no
such column. Applying the mapping: see `clean.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from intarsia.catalog.money import MINOR_DIGITS
from intarsia.config import build, setting
from intarsia.config_file import read_yaml

Format = Literal["csv", "jsonl", "parquet"]
Columns = str | tuple[str, ...]


def column_list(columns: Columns | None) -> tuple[str, ...]:
    """One column, several or none, as a tuple."""
    if columns is None:
        return ()
    return (columns,) if isinstance(columns, str) else columns


@dataclass(frozen=True, slots=True, kw_only=True)
class FileShape:
    """How a raw file is written. Parquet ignores all settings but `format`, JSONL all but `format` and `encoding`."""

    format: Format | None = setting("csv, jsonl or parquet; default: from the file name", None)
    encoding: str = setting(
        "a Python codec name, for example gb18030; utf-16 is not supported (line ends must be one byte)", "utf-8"
    )
    delimiter: str | None = setting("character between fields; default: a tab for .tsv, else a comma", None)
    quote: str = setting("character around fields that hold delimiters or line ends; empty: none", '"')
    header: tuple[str, ...] = setting("column names, when the file has no header line", ())

    def __post_init__(self) -> None:
        try:
            line_end = "\n".encode(self.encoding)
        except LookupError:
            raise ValueError(f"encoding is {self.encoding!r}; allowed: a Python codec name") from None
        if line_end != b"\n":
            raise ValueError(
                f"encoding is {self.encoding!r}; allowed: one with one-byte line ends. Fix: convert the file to utf-8"
            )
        if self.delimiter is not None and len(self.delimiter.encode()) != 1:
            raise ValueError(f"delimiter is {self.delimiter!r}; allowed: one ASCII character")
        if len(self.quote.encode()) > 1:
            raise ValueError(f"quote is {self.quote!r}; allowed: one ASCII character, or empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryShape:
    """Where the category path is."""

    columns: Columns = setting("column with one or several paths; several columns are the levels, root first")
    separator: str = setting("separator between the levels of a path; empty: a text is one level", "")
    list_means: Literal["auto", "paths", "levels"] = setting(
        "what a list holds: whole paths, or the levels of one path; auto: levels when no entry has the separator",
        "auto",
    )
    drop_roots: tuple[str, ...] = setting("root levels to remove, for example Default Category", ())
    avoid: tuple[str, ...] = setting("roots of marketing groups; used only when a product has no other path", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceShape:
    """Where the price is and how its numbers are written."""

    column: str = setting("column with a number, or text such as ¥1,299.00")
    currency: str | None = setting(
        "ISO 4217 code of all prices; default: from `currency_column` or the price text", None
    )
    currency_column: str | None = setting("column with the currency code; `currency` is used where it is empty", None)
    unit: Literal["major", "minor"] = setting(
        "unit of the numbers: major (12.99 dollars) or minor (1299 cents)", "major"
    )
    decimal: Literal[".", ","] = setting(
        "decimal mark of prices written as text; the other one separates thousands", "."
    )

    def __post_init__(self) -> None:
        if self.currency is not None and self.currency not in MINOR_DIGITS:
            raise ValueError(f"currency is {self.currency!r}; allowed: a code of ISO 4217, for example CNY")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesShape:
    """Where the images are: file names below `root`, or bytes in a Parquet column."""

    columns: Columns = setting("column with a file name, a list of them, bytes, or an object with `bytes`")
    separator: str = setting("separator between file names in one text; empty: a text is one name", "")
    root: str = setting("folder of the images, relative to the data folder", ".")
    max_images: int = setting("images kept per product, in the order of the file", 12)
    max_bytes: int = setting("larger image files are not read", 20_000_000, advanced=True)
    placeholder_sha256: tuple[str, ...] = setting("sha256 of known placeholder images", (), advanced=True)
    placeholder_min_products: int = setting(
        "an image that this many products share, byte for byte, is a placeholder; 0: never",
        10,
        advanced=True,
    )
    flat_is_placeholder: bool = setting("treat images of a single colour as placeholders", True, advanced=True)

    def __post_init__(self) -> None:
        if self.max_images < 1:
            raise ValueError(f"max_images is {self.max_images}; allowed: 1 or more")
        if self.max_bytes < 1:
            raise ValueError(f"max_bytes is {self.max_bytes}; allowed: 1 or more")
        if self.placeholder_min_products < 0 or self.placeholder_min_products == 1:
            raise ValueError(f"placeholder_min_products is {self.placeholder_min_products}; allowed: 0, or 2 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeShape:
    """Where the values of one attribute are."""

    column: str = setting("column with a text, number, boolean or list of them")
    separators: tuple[str, ...] = setting("separators between values in one text", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeObjectShape:
    """An object column whose keys are attributes."""

    column: str = setting("column that holds an object (or a map)")
    separators: tuple[str, ...] = setting("separators between values in one text", ())
    leave_out: tuple[str, ...] = setting("keys that are not attributes", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsShape:
    """A list column of variants (sizes, colours) that are merged into their product.

    The columns are those of a variant. Attribute values are united and images appended. The product is in stock when
    any variant is. The lowest variant price is used when the product itself has none.
    """

    column: str = setting("column with a list of objects")
    attributes: Mapping[str, str] = setting("attribute -> column of the variant", factory=dict)
    images: Columns = setting("column with image file names", ())
    price: str | None = setting("column with the price", None)
    in_stock: str | None = setting("column with a count or a boolean", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeShape:
    """A side file joined by key: its columns are added or replaced. Every worker holds it in memory."""

    file: str = setting("CSV, JSONL or Parquet file, relative to the data folder")
    key: str = setting("column of both files; of a repeated key the last row is used")
    columns: tuple[str, ...] = setting("columns to copy")
    where: Mapping[str, str] = setting(
        "join only rows whose column contains a match of the regular expression, for example {product_id: '[02468]$'}",
        factory=dict,
    )
    shape: FileShape = setting("how the side file is written", factory=FileShape)

    def __post_init__(self) -> None:
        for column, pattern in self.where.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"where.{column} is {pattern!r}, not a regular expression: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogMapping:
    """Maps the columns of a products file to product fields."""

    product_id: str = setting("column with the id; unique in the catalog")
    title: Columns = setting("column, or several that are joined by a space")
    about: str = setting("free text for people; not used", "")
    file: FileShape = setting("how the file is written", factory=FileShape)
    description: Columns = setting("column, or several that are joined by a space", ())
    description_html: Literal["auto", "yes", "no"] = setting(
        "whether descriptions are HTML; auto: detected by tags and entities", "auto"
    )
    brand: Columns = setting("column, or several of which the first non-empty one is used", ())
    category: CategoryShape | None = setting("category path", None)
    price: PriceShape | None = setting("price", None)
    images: ImagesShape | None = setting("images", None)
    attributes: Mapping[str, str | AttributeShape] = setting("attribute -> column", factory=dict)
    attribute_objects: tuple[AttributeObjectShape, ...] = setting("object columns whose keys are attributes", ())
    in_stock: Columns = setting("columns with a count or a boolean; all must be true", ())
    locale: Literal["detect", "en", "zh"] = setting(
        "language of all rows; detect: zh where the text has Chinese characters, else en", "detect"
    )
    locale_column: str | None = setting(
        "column with the language (en, zh-CN, ...); `locale` is used where it is empty", None
    )
    updated_at: str | None = setting("column with the time of the last change", None)
    updated_at_unit: Literal["auto", "s", "ms"] = setting(
        "unit of numbers since 1970; auto: ms above 100,000,000,000", "auto"
    )
    placeholders: tuple[str, ...] = setting(
        "texts that stand for a missing value, for example 'N/A' or '商品介绍加载中...'", ()
    )
    variants: VariantsShape | None = setting("list of variants merged into the product", None)
    merge: tuple[MergeShape, ...] = setting("side files joined by key, in this order", ())


def load_mapping(path: Path) -> CatalogMapping:
    """Load the mapping from a YAML file.

    Raises:
        ConfigError: the file is missing or not YAML, or has an unknown, missing or wrong setting.
    """
    return build(CatalogMapping, read_yaml(path), where=path.name)
