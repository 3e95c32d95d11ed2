"""What the query asks for by name (a brand, a category, a colour) and whether the product is that. NaN where nothing was asked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intarsia.features.catalog_vocabulary import VALUE_FIELDS
from intarsia.features.definition import Feature, feature
from intarsia.features.ragged import share, sums
from intarsia.maths.arrays import Floats, Ints
from intarsia.records.feature_matrix import Ragged


def agreement_features() -> Iterator[Feature]:
    """Words of each kind, then whole values."""
    for field in VALUE_FIELDS:
        yield _words_agree(field)
    for field in ("brand", "category"):
        yield _is_asked(field)
    yield from (category_depth_named, attributes_named, attributes_agree, attributes_conflict, attributes_untold)


def _words_agree(field: str) -> Feature:
    @feature(name=f"{field}_words_agree", version=1, reads=(f"query_is_{field}_word", f"{field}_counts"))
    def words_agree(is_value_word: Ragged, counts: Ragged) -> Floats:
        """Of the query's words that the catalog uses in this field, the share this product has there."""
        known = is_value_word.values > 0
        return share(sums(known & (counts.values > 0), counts.offsets), sums(known, counts.offsets))

    return words_agree


def _is_asked(field: str) -> Feature:
    @feature(name=f"{field}_is_asked", version=1, reads=(f"{field}_named", f"{field}_asked", f"{field}_values"))
    def is_asked(named: Ints, asked: Ints, held: Ints) -> Floats:
        """1 when the query names the product's value in full, 0 when it names another; NaN when it names none or the product has none."""
        return np.where((asked > 0) & (held > 0), named > 0, np.nan)

    return is_asked


@feature(version=1, reads=("category_named", "category_values"))
def category_depth_named(named: Ints, depth: Ints) -> Floats:
    """Share of the levels of the product's category path that the query names."""
    return share(named, depth)


@feature(version=1, reads=("attributes_named",))
def attributes_named(named: Ints) -> Floats:
    """How many of the product's attribute values the query names in full."""
    return named.astype(np.float64)


@feature(version=1, reads=("attributes_agreed", "attributes_asked"))
def attributes_agree(agreed: Ints, asked: Ints) -> Floats:
    """Of the attributes for which the query names a value, the share where the product has it."""
    return share(agreed, asked)


@feature(version=1, reads=("attributes_told", "attributes_agreed", "attributes_asked"))
def attributes_conflict(told: Ints, agreed: Ints, asked: Ints) -> Floats:
    """Of the same, the share where the product has another value: asked for red, and it is blue."""
    return share(told - agreed, asked)


@feature(version=1, reads=("attributes_told", "attributes_asked"))
def attributes_untold(told: Ints, asked: Ints) -> Floats:
    """Of the same, the share that the product does not tell at all."""
    return share(asked - told, asked)
