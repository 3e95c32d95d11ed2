"""The mapping file: which column of a shop's file is what. Reading the file is `sources`' matter, applying the mapping is `clean`'s.

A column is named as in the file; `a.b` looks into an object column. Wherever a column may be absent, leave its setting out.
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
    """One column, several or none as a tuple."""
    if columns is None:
        return ()
    return (columns,) if isinstance(columns, str) else columns


@dataclass(frozen=True, slots=True, kw_only=True)
class FileShape:
    """How a raw file is written; no effect on Parquet, and all but `encoding` have none on JSONL."""

    format: Format | None = setting("csv, jsonl or parquet; nothing: guessed from the file's ending", None)
    encoding: str = setting(
        "any name that Python knows, for example gb18030; never utf-16 (line ends must be one byte)", "utf-8"
    )
    delimiter: str | None = setting("one character between fields; nothing: a tab for .tsv, else a comma", None)
    quote: str = setting("one character around fields that hold delimiters or line ends; empty: none is used", '"')
    header: tuple[str, ...] = setting("names of the columns when the file has no header line", ())

    def __post_init__(self) -> None:
        try:
            line_end = "\n".encode(self.encoding)
        except LookupError:
            raise ValueError(f"encoding is {self.encoding!r}; allowed: a name that Python knows") from None
        if line_end != b"\n":
            raise ValueError(
                f"encoding is {self.encoding!r}; allowed: one whose line end is one byte; convert the file to utf-8"
            )
        if self.delimiter is not None and len(self.delimiter.encode()) != 1:
            raise ValueError(f"delimiter is {self.delimiter!r}; allowed: one ASCII character")
        if len(self.quote.encode()) > 1:
            raise ValueError(f"quote is {self.quote!r}; allowed: one ASCII character, or nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryShape:
    """Where a product's place in the category tree is written."""

    columns: Columns = setting("columns with a path or paths; several are levels, the root first")
    separator: str = setting("between the levels of a path; empty: a text is one level", "")
    list_means: Literal["auto", "paths", "levels"] = setting(
        "what a list holds: whole paths, or the levels of one; auto: levels when no entry has the separator", "auto"
    )
    drop_roots: tuple[str, ...] = setting("roots that say nothing and are cut off, for example Default Category", ())
    avoid: tuple[str, ...] = setting("roots of marketing groups: taken only where nothing else is given", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceShape:
    """Where the price is written and what its numbers mean."""

    column: str = setting("a number, or text such as ¥1,299.00")
    currency: str | None = setting(
        "ISO 4217 code of all prices; nothing: from `currency_column` or the price's text", None
    )
    currency_column: str | None = setting("column with the code; where it is empty `currency` counts", None)
    unit: Literal["major", "minor"] = setting("major: 12.99 is 12 dollars 99; minor: 1299 is that", "major")
    decimal: Literal[".", ","] = setting("decimal mark of prices written as text; the other one parts thousands", ".")

    def __post_init__(self) -> None:
        if self.currency is not None and self.currency not in MINOR_DIGITS:
            raise ValueError(f"currency is {self.currency!r}; allowed: a code of ISO 4217, for example CNY")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesShape:
    """Where the pictures are: file names below `root`, or the bytes themselves in a Parquet column."""

    columns: Columns = setting("columns with a file name, a list of them, bytes, or an object with `bytes`")
    separator: str = setting("between several file names in one text; empty: a text is one name", "")
    root: str = setting("folder of the pictures, relative to the data's folder", ".")
    max_images: int = setting("pictures kept per product, in the shop's order", 12)
    max_bytes: int = setting("size of a picture file in bytes above which it is not read", 20_000_000)
    placeholder_sha256: tuple[str, ...] = setting("sha256 of known `no picture` pictures", ())
    placeholder_min_products: int = setting(
        "a picture shared, byte for byte, by this many products is a placeholder; 0: never", 10
    )
    flat_is_placeholder: bool = setting("whether a picture of one single colour is a placeholder", True)

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

    column: str = setting("a text, number, truth value or list of them")
    separators: tuple[str, ...] = setting("between several values in one text", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeObjectShape:
    """An object column whose every key is an attribute."""

    column: str = setting("a column that holds an object (or a map)")
    separators: tuple[str, ...] = setting("between several values in one text", ())
    leave_out: tuple[str, ...] = setting("keys that are no attributes", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsShape:
    """A list column of variants (sizes, colours) that are merged into their product.

    Attribute values are united, pictures appended, the product is in stock when a variant is, and the lowest price counts where
    the product itself gives none. Columns are those of a variant.
    """

    column: str = setting("list of objects")
    attributes: Mapping[str, str] = setting("attribute -> column of the variant", factory=dict)
    images: Columns = setting("columns with picture names", ())
    price: str | None = setting("column with the price", None)
    in_stock: str | None = setting("column with a count or a truth value", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeShape:
    """A side file, joined by key: its columns replace those of the row, or are added. Every worker holds it in memory."""

    file: str = setting("CSV, JSONL or Parquet, relative to the data's folder")
    key: str = setting("column of both files; of a repeated key the last row counts")
    columns: tuple[str, ...] = setting("columns to take over")
    where: Mapping[str, str] = setting(
        "only rows whose column matches this regular expression somewhere, for example {product_id: '[02468]$'}",
        factory=dict,
    )
    shape: FileShape = setting("how the side file is written", factory=FileShape)

    def __post_init__(self) -> None:
        for column, pattern in self.where.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"where.{column} is {pattern!r}, which is no regular expression: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogMapping:
    """Which column of a shop's products file is what."""

    product_id: str = setting("column of the id; unique in the catalog")
    title: Columns = setting("column, or several that are joined by a space")
    about: str = setting("what this mapping is for, for people", "")
    file: FileShape = setting("how the file is written", factory=FileShape)
    description: Columns = setting("column, or several that are joined by a space", ())
    description_html: Literal["auto", "yes", "no"] = setting(
        "whether descriptions are HTML; auto looks for tags and entities", "auto"
    )
    brand: Columns = setting("column, or several of which the first that is not empty counts", ())
    category: CategoryShape | None = setting("place in the category tree", None)
    price: PriceShape | None = setting("price", None)
    images: ImagesShape | None = setting("pictures", None)
    attributes: Mapping[str, str | AttributeShape] = setting("attribute -> column", factory=dict)
    attribute_objects: tuple[AttributeObjectShape, ...] = setting("object columns whose keys are attributes", ())
    in_stock: Columns = setting("columns with a count or a truth value; all must say yes", ())
    locale: Literal["detect", "en", "zh"] = setting(
        "language of all rows, or detect: zh where a text has Chinese characters", "detect"
    )
    locale_column: str | None = setting(
        "column with the language (en, zh-CN …); where it is empty `locale` counts", None
    )
    updated_at: str | None = setting("column with the time of the last change", None)
    updated_at_unit: Literal["auto", "s", "ms"] = setting(
        "unit of numbers since 1970; auto: ms above 100,000,000,000", "auto"
    )
    placeholders: tuple[str, ...] = setting("texts that mean nothing, for example 'N/A' or '商品介绍加载中...'", ())
    variants: VariantsShape | None = setting("list of variants merged into the product", None)
    merge: tuple[MergeShape, ...] = setting("side files joined by key, in this order", ())


def load_mapping(path: Path) -> CatalogMapping:
    """The mapping of a YAML file.

    Raises:
        ConfigError: the file is missing or not YAML, or has an unknown, missing or wrong setting.
    """
    return build(CatalogMapping, read_yaml(path), where=path.name)
