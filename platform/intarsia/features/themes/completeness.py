"""How complete the product's data is, and whether it can be bought."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intarsia.features.definition import Feature, feature
from intarsia.maths.arrays import Floats, Ints


def completeness_features() -> Iterator[Feature]:
    """Images, texts, attributes, stock."""
    yield from (num_images, description_chars_log, has_brand, has_price, num_attributes, category_depth, in_stock)


@feature(version=1, reads=("num_images",))
def num_images(num_images: Floats) -> Floats:
    """Number of usable images."""
    return num_images


@feature(version=1, reads=("description_chars",))
def description_chars_log(description_chars: Floats) -> Floats:
    """log(1 + characters of the description)."""
    return np.log1p(description_chars)


@feature(version=1, reads=("brand_values",))
def has_brand(brand_values: Ints) -> Floats:
    """1 with a brand, else 0."""
    return (brand_values > 0).astype(np.float64)


@feature(version=1, reads=("price_minor",))
def has_price(price_minor: Floats) -> Floats:
    """1 with a price, else 0."""
    return (~np.isnan(price_minor)).astype(np.float64)


@feature(version=1, reads=("attributes_values",))
def num_attributes(attributes_values: Ints) -> Floats:
    """Number of attribute values."""
    return attributes_values.astype(np.float64)


@feature(version=1, reads=("category_values",))
def category_depth(category_values: Ints) -> Floats:
    """Number of levels of the category path."""
    return category_values.astype(np.float64)


@feature(version=1, reads=("in_stock",))
def in_stock(in_stock: Floats) -> Floats:
    """1 in stock, 0 not in stock, NaN if unknown."""
    return in_stock
