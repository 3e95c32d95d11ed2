from __future__ import annotations

import numpy as np
import pytest

from intarsia.errors import DataError
from intarsia.ids import ProductId
from intarsia.index.filters import FilterIndex
from intarsia.records.product import Money, Product
from intarsia.records.query import Filters
from tests.catalogs import columns_of


def product(number: int, **fields: object) -> Product:
    cents = fields.pop("cents", None)
    price = None if cents is None else Money(minor_units=int(str(cents)), currency="USD")
    return Product(product_id=ProductId(f"p{number}"), title="x", price=price, **fields)  # type: ignore[arg-type]


SHOP = [
    product(
        0,
        brand="Acme",
        category_path=("Shoes", "Running"),
        cents=1999,
        in_stock=True,
        attributes={"color": ("red", "blue"), "size": ("42",)},
    ),
    product(1, brand="ACME", category_path=("Shoes",), cents=2000, in_stock=False, attributes={"color": ("Red",)}),
    product(2, brand="耐克", category_path=("Shoes", "Boots"), cents=5000, attributes={"颜色": ("红色",)}),
    product(3, category_path=("Bags",), in_stock=True, attributes={"size": ("42",)}),
]
ALL = np.ones(4, np.bool_)


@pytest.fixture(scope="module")
def index() -> FilterIndex:
    return FilterIndex(columns_of(SHOP))


def rows(index: FilterIndex, **filters: object) -> list[int]:
    mask_N = index.allowed(Filters(**filters))  # type: ignore[arg-type]
    assert mask_N is not None
    return np.flatnonzero(mask_N).tolist()


def counts(index: FilterIndex, name: str, mask_N: np.ndarray = ALL, top: int = 10) -> list[tuple[str, int]]:
    return [(v.value, v.count) for v in index.facets(mask_N, [name], top)[name]]


def test_no_filter_allows_everything(index: FilterIndex) -> None:
    assert index.allowed(Filters()) is None


def test_a_category_is_a_path_prefix(index: FilterIndex) -> None:
    assert rows(index, category=("Shoes",)) == [0, 1, 2]
    assert rows(index, category=("shoes", "boots")) == [2]
    assert rows(index, category=("Shoes > Boots",)) == [2]
    assert rows(index, category=("Boots",)) == []


def test_brands_are_alternatives_in_any_case_width_and_script(index: FilterIndex) -> None:
    assert rows(index, brands=("acme", "耐克")) == [0, 1, 2]
    assert rows(index, brands=("ＡＣＭＥ",)) == [0, 1]
    assert rows(index, brands=("nobody",)) == []


def test_both_ends_of_a_price_range_are_included_and_no_price_fails(index: FilterIndex) -> None:
    assert rows(index, price_min=1999, price_max=2000) == [0, 1]
    assert rows(index, price_min=0) == [0, 1, 2]
    assert rows(index, price_max=1998) == []


def test_values_of_one_attribute_are_alternatives_and_attributes_must_all_hold(index: FilterIndex) -> None:
    assert rows(index, attributes={"color": ("blue", "red")}) == [0, 1]
    assert rows(index, attributes={"Color": ("RED",), "size": ("42",)}) == [0]
    assert rows(index, attributes={"颜色": ("紅色",)}) == [2]
    assert rows(index, attributes={"colour": ("red",)}) == []
    assert rows(index, attributes={"color": ()}) == []


def test_unknown_stock_is_neither_in_nor_out_of_stock(index: FilterIndex) -> None:
    assert rows(index, in_stock=True) == [0, 3]
    assert rows(index, in_stock=False) == [1]


def test_excluded_ids_are_removed_and_unknown_ones_ignored(index: FilterIndex) -> None:
    assert rows(index, exclude=("p1", "p9", "a")) == [0, 2, 3]


def test_row_of_refuses_an_unknown_product(index: FilterIndex) -> None:
    assert index.row_of("p2") == 2
    with pytest.raises(DataError, match="product_id is 'p9'; allowed: the id of a product of this catalog"):
        index.row_of("p9")


def test_all_filters_must_hold(index: FilterIndex) -> None:
    assert rows(index, category=("Shoes",), brands=("Acme",), in_stock=True, price_max=9999) == [0]


def test_brands_that_fold_to_one_key_are_one_facet_value(index: FilterIndex) -> None:
    assert counts(index, "brand") == [("ACME", 2), ("耐克", 1)]


def test_a_product_counts_once_for_a_value_it_has_in_two_spellings() -> None:
    index = FilterIndex(columns_of([product(0, attributes={"color": ("red", "Red")})]))
    assert counts(index, "attributes.color") == [("Red", 1)]


def test_every_level_of_the_path_is_counted(index: FilterIndex) -> None:
    assert counts(index, "category") == [("Shoes", 3), ("Bags", 1), ("Shoes > Boots", 1), ("Shoes > Running", 1)]


def test_price_buckets_are_a_fixed_series_in_ascending_order(index: FilterIndex) -> None:
    assert counts(index, "price") == [("1000-1999", 1), ("2000-4999", 1), ("5000-9999", 1)]


def test_the_price_buckets_do_not_depend_on_the_match_set(index: FilterIndex) -> None:
    assert counts(index, "price", np.array([False, False, True, True])) == [("5000-9999", 1)]


def test_a_free_product_has_a_price_bucket() -> None:
    assert counts(FilterIndex(columns_of([product(0, cents=0)])), "price", np.ones(1, np.bool_)) == [("0-99", 1)]


def test_attributes_and_stock_are_counted_within_the_mask(index: FilterIndex) -> None:
    assert counts(index, "attributes.Color") == [("Red", 2), ("blue", 1)]
    assert counts(index, "attributes.size", np.array([True, True, False, False])) == [("42", 1)]
    assert counts(index, "in_stock") == [("true", 2), ("false", 1)]


def test_only_the_most_frequent_values_are_returned(index: FilterIndex) -> None:
    assert counts(index, "category", top=1) == [("Shoes", 3)]


def test_an_attribute_that_no_product_has_has_no_values(index: FilterIndex) -> None:
    assert counts(index, "attributes.weight") == []


def test_an_unknown_facet_is_refused(index: FilterIndex) -> None:
    with pytest.raises(
        DataError,
        match=r"facets is 'colour'; allowed: category, brand, price, in_stock, attributes\.<name>\. Fix: use a",
    ):
        index.facets(ALL, ["brand", "colour"], 5)


def test_facet_names_lists_all_facets(index: FilterIndex) -> None:
    assert index.facet_names == (
        *("category", "brand", "price", "in_stock"),
        *("attributes.color", "attributes.size", "attributes.颜色"),
    )


def test_an_empty_catalog_is_allowed() -> None:
    index = FilterIndex(columns_of([]))
    assert rows(index, category=("Shoes",), brands=("a",), attributes={"color": ("red",)}, exclude=("p1",)) == []
    assert index.facets(np.ones(0, np.bool_), index.facet_names, 5) == {
        "brand": (),
        "category": (),
        "price": (),
        "in_stock": (),
    }
