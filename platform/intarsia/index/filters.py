"""Filters as exact masks over the catalog, and the facets of a match set.

The count of a facet value equals the number of products that remain when its filter is added. Strings are compared in
folded form (case, width, accents and traditional Chinese characters do not matter). A value that no product has matches
nothing.

Letters: N products, M memberships (pairs of value and product), G values.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import DataError
from intarsia.maths.arrays import Bools, Floats, Ints
from intarsia.records.feature_matrix import Ragged
from intarsia.records.page import FacetValue
from intarsia.records.product_columns import CATEGORY_SEPARATOR, ProductColumns
from intarsia.records.query import Filters
from intarsia.text import fold

ATTRIBUTE_PREFIX = "attributes."
_PLAIN_FACETS = ("category", "brand", "price", "in_stock")
_PRICE_STEPS = (1, 2, 5)  # 1-2-5 series: 100, 200, 500, 1000, … minor units
_FIRST_PRICE_STEP = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Memberships:
    """Pairs of value and product row, sorted; a value is a brand, a category prefix or an attribute value.

    Attributes:
        labels: display form of each value, [G].
        values_of: look-up key -> value.
        values_M: int32, the value of each pair.
        rows_M: int64, the row of each pair.
        offsets: int64 [G + 1]; the rows of value g are rows_M[offsets[g]:offsets[g + 1]].
    """

    labels: tuple[str, ...]
    values_of: Mapping[Hashable, int]
    values_M: NDArray[np.int32]
    rows_M: Ints
    offsets: Ints

    @classmethod
    def of(
        cls, codes: NDArray[np.integer], rows: NDArray[np.integer], labels: Sequence[str], keys: Sequence[Hashable]
    ) -> Memberships:
        """Build from pairs (code, row) in any order, repeats allowed; code i has labels[i] and look-up key keys[i].

        Codes with equal keys become one value with the label of the first, because a filter cannot distinguish them.
        """
        values_of: dict[Hashable, int] = {}
        distinct_labels: list[str] = []
        value_of_code = np.empty(len(keys), np.int64)
        for code, key in enumerate(keys):
            if key not in values_of:
                values_of[key] = len(distinct_labels)
                distinct_labels.append(labels[code])
            value_of_code[code] = values_of[key]
        values = value_of_code[codes]
        order = np.lexsort((rows, values))
        values, rows = values[order], rows[order]
        first = np.ones(len(values), np.bool_)
        first[1:] = (values[1:] != values[:-1]) | (rows[1:] != rows[:-1])
        values, rows = values[first], rows[first]
        return cls(
            labels=tuple(distinct_labels),
            values_of=values_of,
            values_M=values.astype(np.int32),
            rows_M=rows.astype(np.int64),
            offsets=np.searchsorted(values, np.arange(len(distinct_labels) + 1)).astype(np.int64),
        )

    def having(self, keys: Iterable[Hashable], num_rows: int) -> Bools:
        """Bool [N]: the products that have any of the values; an unknown key has no products."""
        mask_N = np.zeros(num_rows, np.bool_)
        for key in keys:
            value = self.values_of.get(key)
            if value is not None:
                mask_N[self.rows_M[self.offsets[value] : self.offsets[value + 1]]] = True
        return mask_N

    def counts(self, mask_N: Bools) -> Ints:
        """int64 [G]: number of products of the mask that have each value."""
        return np.bincount(self.values_M[mask_N[self.rows_M]], minlength=len(self.labels))

    def most_frequent(self, mask_N: Bools, top: int) -> tuple[FacetValue, ...]:
        """The `top` most frequent values among the products of the mask, ties in order of values; none with count 0."""
        counts_G = self.counts(mask_N)
        order = np.argsort(-counts_G, kind="stable")[:top]
        return tuple(FacetValue(value=self.labels[g], count=int(counts_G[g])) for g in order if counts_G[g])


def pairs_of(lists: Ragged) -> tuple[NDArray[np.int32], Ints]:
    """(codes, rows) of all values of a ragged column."""
    return lists.values, np.repeat(np.arange(len(lists)), np.diff(lists.offsets))


class FilterIndex:
    """Filters and facets of one catalog: a mask takes time in its rows, a facet in the memberships it counts."""

    def __init__(self, columns: ProductColumns) -> None:
        self._columns = columns
        self._num_rows = columns.num_rows
        self._brand = _brands(columns)
        self._category = _categories(columns)
        self._attributes = _attributes(columns)
        self._price = _price_buckets(columns.price_minor)
        self._in_stock = _in_stock(columns.in_stock)

    def allowed(self, filters: Filters) -> Bools | None:
        """Bool [N]: the products that pass every filter; None if there is no filter."""
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
            mask_N &= self._columns.price_minor >= filters.price_min  # NaN (no price) compares as false
        if filters.price_max is not None:
            mask_N &= self._columns.price_minor <= filters.price_max
        if filters.in_stock is not None:
            mask_N &= self._columns.in_stock == float(filters.in_stock)
        mask_N[[row for product_id in filters.exclude if (row := self.find(product_id)) is not None]] = False
        return mask_N

    def facets(self, mask_N: Bools, names: Sequence[str], top: int = 20) -> Mapping[str, tuple[FacetValue, ...]]:
        """The most frequent values among the products of a mask, with counts.

        A category value is a path joined by " > ". A price value is "min-max" in minor units, both ends included, from
        a fixed 1-2-5 series; prices are listed in ascending order. in_stock is "true" or "false".

        Args:
            mask_N: the match set.
            names: category, brand, price, in_stock, or attributes.<name>; an attribute that no product has has no
                values.
            top: maximum number of values of each facet.

        Raises:
            DataError: an unknown facet.
        """
        return {name: self._facet(mask_N, name, top) for name in names}

    def find(self, product_id: str) -> int | None:
        """The row of a product; None if it is not in the catalog."""
        product_ids = self._columns.product_ids
        row = bisect_left(product_ids, product_id)
        return row if row < len(product_ids) and product_ids[row] == product_id else None

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
                fix="use the id of a product from a recent search; the catalog may have changed",
            )
        return row

    @property
    def facet_names(self) -> tuple[str, ...]:
        """All facets of this catalog."""
        return (*_PLAIN_FACETS, *(ATTRIBUTE_PREFIX + name for name in sorted(self._attributes)))

    def _facet(self, mask_N: Bools, name: str, top: int) -> tuple[FacetValue, ...]:
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
            fix="use a facet of this list",
        )


def _brands(columns: ProductColumns) -> Memberships:
    labels = list(columns.vocabularies["brand"])
    rows = np.flatnonzero(columns.brand >= 0)
    return Memberships.of(columns.brand[rows], rows, labels, [fold(label) for label in labels])


def _categories(columns: ProductColumns) -> Memberships:
    labels = list(columns.vocabularies["category"])
    return Memberships.of(*pairs_of(columns.categories), labels, [_category_key(label) for label in labels])


def _category_key(path: str) -> Hashable:
    """Fold each part by itself, so that folding cannot join two parts."""
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
    memberships: dict[str, Memberships] = {}
    for name, number in names.items():
        of_name = number_of_pair == number
        labels = labels_of[name]
        memberships[name] = Memberships.of(
            code_of_pair[of_name], rows[of_name], labels, [fold(label) for label in labels]
        )
    return memberships


def _price_buckets(price_minor: Floats) -> Memberships:
    """Ranges of a fixed series, from 0 to the first step above the highest price, whatever the match set."""
    rows = np.flatnonzero(~np.isnan(price_minor))
    highest = price_minor[rows].max(initial=0.0)
    edges, scale = [0], _FIRST_PRICE_STEP
    while edges[-1] <= highest:
        edges += [step * scale for step in _PRICE_STEPS]
        scale *= 10
    labels = [f"{low}-{high - 1}" for low, high in pairwise(edges)]
    buckets = np.searchsorted(edges, price_minor[rows], side="right") - 1
    return Memberships.of(buckets, rows, labels, labels)


def _in_stock(in_stock: Floats) -> Memberships:
    rows = np.flatnonzero(~np.isnan(in_stock))
    labels = ["false", "true"]
    return Memberships.of(in_stock[rows].astype(np.int64), rows, labels, labels)


_NONE = Memberships.of(np.empty(0, np.int64), np.empty(0, np.int64), [], [])
