"""Whether the product is what the query names: a brand, a category, an attribute value. NaN if the query names none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intarsia.features.catalog_vocabulary import VALUE_FIELDS
from intarsia.features.definition import Feature, feature
from intarsia.features.ragged import share, sums
from intarsia.maths.arrays import Floats, Ints
from intarsia.records.feature_matrix import Ragged


def agreement_features() -> Iterator[Feature]:
    """Words of each field, then whole values."""
    for field in VALUE_FIELDS:
        yield _words_agree(field)
    for field in ("brand", "category"):
        yield _is_named(field)
    yield from (category_depth_named, attributes_named, attributes_agree, attributes_conflict, attributes_unknown)


def _words_agree(field: str) -> Feature:
    @feature(name=f"{field}_words_agree", version=1, reads=(f"query_is_{field}_word", f"{field}_counts"))
    def words_agree(is_value_word: Ragged, counts: Ragged) -> Floats:
        """Of the query's words that any product has in this field, the share that this product has there."""
        known = is_value_word.values > 0
        return share(sums(known & (counts.values > 0), counts.offsets), sums(known, counts.offsets))

    return words_agree


def _is_named(field: str) -> Feature:
    @feature(name=f"{field}_is_named", version=1, reads=(f"{field}_named", f"{field}_requested", f"{field}_values"))
    def is_named(named: Ints, requested: Ints, num_values: Ints) -> Floats:
        """1 if the query names the product's value in full, 0 if it names another; NaN if either has none."""
        return np.where((requested > 0) & (num_values > 0), named > 0, np.nan)

    return is_named


@feature(version=1, reads=("category_named", "category_values"))
def category_depth_named(named: Ints, depth: Ints) -> Floats:
    """Share of the levels of the product's category path that the query names."""
    return share(named, depth)


@feature(version=1, reads=("attributes_named",))
def attributes_named(named: Ints) -> Floats:
    """Number of the product's attribute values that the query names in full."""
    return named.astype(np.float64)


@feature(version=1, reads=("attributes_agreed", "attributes_requested"))
def attributes_agree(agreed: Ints, requested: Ints) -> Floats:
    """Of the attributes for which the query names a value, the share where the product has that value."""
    return share(agreed, requested)


@feature(version=1, reads=("attributes_present", "attributes_agreed", "attributes_requested"))
def attributes_conflict(present: Ints, agreed: Ints, requested: Ints) -> Floats:
    """Of the attributes for which the query names a value, the share where the product has another value."""
    return share(present - agreed, requested)


@feature(version=1, reads=("attributes_present", "attributes_requested"))
def attributes_unknown(present: Ints, requested: Ints) -> Floats:
    """Of the attributes for which the query names a value, the share that the product does not have."""
    return share(requested - present, requested)
