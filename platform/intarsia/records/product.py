"""A product after cleaning, its price and its images. Cleaning: see `catalog/`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from intarsia.ids import ProductId

_CURRENCY = re.compile(r"[A-Z]{3}")

Attributes = Mapping[str, tuple[str, ...]]
"""Attribute name (folded) -> its clean values, for example several colours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """An amount in minor units (cents, fen; yen have none) of an ISO 4217 currency."""

    minor_units: int
    currency: str

    def __post_init__(self) -> None:
        if self.minor_units < 0:
            raise ValueError(f"minor_units is {self.minor_units}; allowed: 0 or more")
        if not _CURRENCY.fullmatch(self.currency):
            raise ValueError(f"currency is {self.currency!r}; allowed: three capitals of ISO 4217")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """One usable image of a product, without its bytes.

    `source` is its file name, or the column that held its bytes. `phash` is the 64-bit perceptual hash as 16 hex
    digits.
    """

    source: str
    sha256: str
    width: int
    height: int
    phash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product after cleaning; "", () and None mean that the shop gave no value."""

    product_id: ProductId
    title: str
    description: str = ""
    brand: str = ""
    category_path: tuple[str, ...] = ()
    price: Money | None = None
    images: tuple[ImageRef, ...] = ()
    attributes: Attributes = field(default_factory=dict)
    in_stock: bool | None = None
    locale: str = "en"
    updated_at: datetime | None = None

    def __post_init__(self) -> None:
        if not self.product_id:
            raise ValueError("product_id is empty")
        if not self.title:
            raise ValueError(f"product {self.product_id} has an empty title")
        if self.updated_at is not None and self.updated_at.tzinfo is None:
            raise ValueError(f"updated_at of product {self.product_id} has no time zone; allowed: UTC")
