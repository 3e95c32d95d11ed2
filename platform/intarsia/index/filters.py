"""Filters as exact masks over the catalog, and the facets of a match set. A facet counts what its filter would leave.

Letters: N products. Strings are compared in folded form (case, width, simplified Chinese, accents do not matter); a value that no product
has matches nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import DataError
from intarsia.index.memberships import Memberships, pairs_of
from intarsia.records.page import FacetValue
from intarsia.records.product_columns import CATEGORY_SEPARATOR, ProductColumns
from intarsia.records.query import Filters
from intarsia.text import fold

ATTRIBUTE_PREFIX = "attributes."
_PLAIN_FACETS = ("category", "brand", "price", "in_stock")
_PRICE_STEPS = (1, 2, 5)  # 1-2-5 series: 100, 200, 500, 1000, … minor units
_FIRST_PRICE_STEP = 100


class FilterIndex:
    """Look-ups of one catalog, built once: masks in time of the rows they hold, facets in time of the memberships they count."""

    def __init__(self, columns: ProductColumns) -> None:
        self._columns = columns
        self._num_rows = columns.num_rows
        self._brand = _brands(columns)
        self._category = _categories(columns)
        self._attributes = _attributes(columns)
        self._price = _price_buckets(columns.price_minor)
        self._in_stock = _in_stock(columns.in_stock)

    def allowed(self, filters: Filters) -> NDArray[np.bool_] | None:
        """Bool [N]: the products that pass every filter; None when nothing is filtered."""
        if filters.is_empty:
            return None
        mask_N = np.ones(self._num_rows, np.bool_)
        if filters.category:
            mask_N &= self._category.having([_category_key(CATEGORY_SEPARATOR.join(filters.category))], self._num_rows)
        if filters.brands:
            mask_N &= self._brand.having(map(fold, filters.brands), self._num_rows)
        for name, values in filters.attributes.items():
            of_name = self._attributes.get(fold(name), _NONE)
            mask_N &= of_name.having(map(fold, values), self._num_rows)
        if filters.price_min is not None:
            mask_N &= self._columns.price_minor >= filters.price_min  # NaN, no price, is never true
        if filters.price_max is not None:
            mask_N &= self._columns.price_minor <= filters.price_max
        if filters.in_stock is not None:
            mask_N &= self._columns.in_stock == float(filters.in_stock)
        mask_N[[row for product_id in filters.exclude if (row := self.find(product_id)) is not None]] = False
        return mask_N

    def facets(
        self, mask_N: NDArray[np.bool_], names: Sequence[str], top: int = 20
    ) -> Mapping[str, tuple[FacetValue, ...]]:
        """The most frequent values among the products of a mask, and how many have each.

        Adding the filter of a value to what made the mask leaves exactly `count` products. A category value is a path joined by " > "; a
        price value is "min-max" in minor units, both ends included, from a fixed 1-2-5 series, and comes cheapest first; in_stock
        is "true" or "false".

        Args:
            mask_N: the match set.
            names: category, brand, price, in_stock, or attributes.<name>; an attribute that no product has gives no values.
            top: how many values of each at most.

        Raises:
            DataError: a facet of another name.
        """
        return {name: self._facet(mask_N, name, top) for name in names}

    def find(self, product_id: str) -> int | None:
        """The row of a product, if it is in the catalog."""
        known = self._columns.product_ids
        row = bisect_left(known, product_id)
        return row if row < len(known) and known[row] == product_id else None

    def row_of(self, product_id: str) -> int:
        """The row of a product that must be in the catalog.

        Raises:
            DataError: it is not.
        """
        row = self.find(product_id)
        if row is None:
            raise DataError(
                table="query",
                field="product_id",
                found=product_id,
                allowed="the id of a product of this catalog",
                fix="ask for a product that a search returned; the catalog may have changed since",
            )
        return row

    @property
    def facet_names(self) -> tuple[str, ...]:
        """Every facet this catalog has."""
        return (*_PLAIN_FACETS, *(ATTRIBUTE_PREFIX + name for name in sorted(self._attributes)))

    def _facet(self, mask_N: NDArray[np.bool_], name: str, top: int) -> tuple[FacetValue, ...]:
        if name == "brand":
            return self._brand.most_frequent(mask_N, top)
        if name == "category":
            return self._category.most_frequent(mask_N, top)
        if name == "price":
            return tuple(sorted(self._price.most_frequent(mask_N, top), key=lambda v: int(v.value.split("-")[0])))
        if name == "in_stock":
            return self._in_stock.most_frequent(mask_N, top)
        if name.startswith(ATTRIBUTE_PREFIX):
            return self._attributes.get(fold(name.removeprefix(ATTRIBUTE_PREFIX)), _NONE).most_frequent(mask_N, top)
        raise DataError(
            table="query",
            field="facets",
            found=name,
            allowed=", ".join([*_PLAIN_FACETS, ATTRIBUTE_PREFIX + "<name>"]),
            fix="ask for a facet of the list",
        )


def _brands(columns: ProductColumns) -> Memberships:
    labels = list(columns.vocabularies["brand"])
    rows = np.flatnonzero(columns.brand >= 0)
    return Memberships.of(columns.brand[rows], rows, labels, [fold(label) for label in labels])


def _categories(columns: ProductColumns) -> Memberships:
    labels = list(columns.vocabularies["category"])
    return Memberships.of(*pairs_of(columns.categories), labels, [_category_key(label) for label in labels])


def _category_key(path: str) -> Hashable:
    """Folded part by part, so that folding cannot join two parts."""
    return tuple(fold(part) for part in path.split(CATEGORY_SEPARATOR))


def _attributes(columns: ProductColumns) -> Mapping[str, Memberships]:
    """Folded attribute name -> the products of each of its values."""
    labels_of: dict[str, list[str]] = {}
    name_of_code: list[str] = []
    code_in_name: list[int] = []
    for entry in columns.vocabularies["attribute"]:
        name, _, value = entry.partition("=")
        labels = labels_of.setdefault(fold(name), [])
        name_of_code.append(fold(name))
        code_in_name.append(len(labels))
        labels.append(value)
    codes, rows = pairs_of(columns.attributes)
    names = {name: number for number, name in enumerate(labels_of)}
    number_of_pair = np.array([names[name] for name in name_of_code], np.int64)[codes]
    code_of_pair = np.array(code_in_name, np.int64)[codes]
    found: dict[str, Memberships] = {}
    for name, number in names.items():
        of_name = number_of_pair == number
        labels = labels_of[name]
        found[name] = Memberships.of(code_of_pair[of_name], rows[of_name], labels, [fold(label) for label in labels])
    return found


def _price_buckets(price_minor: NDArray[np.float64]) -> Memberships:
    """Ranges of a fixed series, from 0 to the first step above the dearest product: they do not depend on any match set."""
    rows = np.flatnonzero(~np.isnan(price_minor))
    dearest = price_minor[rows].max(initial=0.0)
    edges, scale = [0], _FIRST_PRICE_STEP
    while edges[-1] <= dearest:
        edges += [step * scale for step in _PRICE_STEPS]
        scale *= 10
    labels = [f"{low}-{high - 1}" for low, high in pairwise(edges)]
    buckets = np.searchsorted(edges, price_minor[rows], side="right") - 1
    return Memberships.of(buckets, rows, labels, labels)


def _in_stock(in_stock: NDArray[np.float64]) -> Memberships:
    rows = np.flatnonzero(~np.isnan(in_stock))
    labels = ["false", "true"]
    return Memberships.of(in_stock[rows].astype(np.int64), rows, labels, labels)


_NONE = Memberships.of(np.empty(0, np.int64), np.empty(0, np.int64), [], [])
