"""Small catalogs as columns, for tests of code that reads columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from intarsia.records.feature_matrix import Ragged
from intarsia.records.product import Product
from intarsia.records.product_columns import CATEGORY_SEPARATOR, WORD_FIELDS, ProductColumns


def columns_of(products: Sequence[Product]) -> ProductColumns:
    """The columns of products that are sorted by id, without words."""
    assert [p.product_id for p in products] == sorted({p.product_id for p in products})
    nan = float("nan")
    brands = codes_of(p.brand for p in products if p.brand)
    paths = [
        [CATEGORY_SEPARATOR.join(p.category_path[:n]) for n in range(1, len(p.category_path) + 1)] for p in products
    ]
    pairs = [[f"{name}={value}" for name, values in p.attributes.items() for value in values] for p in products]
    currencies = codes_of(p.price.currency for p in products if p.price)
    categories = codes_of(c for path in paths for c in path)
    attributes = codes_of(pair for row_pairs in pairs for pair in row_pairs)
    empty = Ragged(np.empty(0, np.int32), np.zeros(len(products) + 1, np.int64))
    return ProductColumns(
        product_ids=tuple(p.product_id for p in products),
        price_minor=np.array([p.price.minor_units if p.price else nan for p in products], np.float64),
        in_stock=np.array([nan if p.in_stock is None else float(p.in_stock) for p in products], np.float64),
        updated_at_s=np.full(len(products), nan),
        num_images=np.zeros(len(products)),
        description_chars=np.zeros(len(products)),
        is_zh=np.zeros(len(products)),
        currency=np.array([currencies[p.price.currency] if p.price else -1 for p in products], np.int32),
        brand=np.array([brands[p.brand] if p.brand else -1 for p in products], np.int32),
        categories=ragged([[categories[c] for c in path] for path in paths]),
        attributes=ragged([sorted({attributes[pair] for pair in row_pairs}) for row_pairs in pairs]),
        words=dict.fromkeys(WORD_FIELDS, empty),
        vocabularies={
            "brand": brands,
            "category": categories,
            "attribute": attributes,
            "currency": currencies,
            "word": {},
        },
    )


def codes_of(strings: Iterable[str]) -> dict[str, int]:
    """Each distinct string with its rank among the sorted ones."""
    return {string: code for code, string in enumerate(sorted(set(strings)))}


def ragged(lists: Sequence[Sequence[int]]) -> Ragged:
    """Lists of codes as one ragged column."""
    offsets = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return Ragged(np.array([code for row in lists for code in row], np.int32), offsets)
