"""Slow, obvious twins of what the house computes fast: written from the definitions, compared in property tests."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from intarsia.records.product import Product
from intarsia.records.query import Filters
from intarsia.text import fold


def best_products(
    vectors_VD: NDArray[np.float32],
    rows_V: NDArray[np.int64],
    query_D: NDArray[np.float32],
    k: int,
    allowed: Collection[int],
) -> list[tuple[int, float, int]]:
    """(row, score, view) of the k best allowed products: each vector scored alone, each product by its first best view."""
    views: dict[int, list[float]] = {}
    for row, vector_D in zip(rows_V.tolist(), vectors_VD, strict=True):
        views.setdefault(row, []).append(float(np.vecdot(vector_D[None, :], query_D)[0]))
    scored = [(row, max(found), found.index(max(found))) for row, found in views.items() if row in allowed]
    return sorted(scored, key=lambda hit: (-hit[1], hit[0]))[:k]


def bm25f_score(
    query: Sequence[str],
    product: Mapping[str, Sequence[str]],
    catalog: Sequence[Mapping[str, Sequence[str]]],
    *,
    k1: float,
    b: float,
    weights: Mapping[str, float],
) -> float:
    """BM25F of one product by its definition; texts are given as tokens, field by field."""
    score = 0.0
    for token in query:
        df = sum(any(token in other.get(name, ()) for name in weights) for other in catalog)
        tf = 0.0
        for name, weight in weights.items():
            lengths = [len(other[name]) for other in catalog if other.get(name)]
            if token in product.get(name, ()):
                mean = sum(lengths) / len(lengths)
                tf += weight * list(product[name]).count(token) / (1 - b + b * len(product[name]) / mean)
        idf = math.log(1 + (len(catalog) - df + 0.5) / (df + 0.5))
        score += idf * tf * (k1 + 1) / (k1 + tf) if tf else 0.0
    return score


def passes(product: Product, filters: Filters) -> bool:
    """Whether a product is what the filters ask, field by field."""
    price = None if product.price is None else product.price.minor_units
    wanted = filters.attributes.items()
    return (
        [fold(part) for part in product.category_path[: len(filters.category)]] == [fold(p) for p in filters.category]
        and (not filters.brands or (product.brand != "" and fold(product.brand) in [fold(b) for b in filters.brands]))
        and (filters.price_min is None or (price is not None and price >= filters.price_min))
        and (filters.price_max is None or (price is not None and price <= filters.price_max))
        and (filters.in_stock is None or product.in_stock is filters.in_stock)
        and product.product_id not in filters.exclude
        and all(
            any(
                fold(n) == fold(name) and fold(v) in map(fold, values)
                for n, vs in product.attributes.items()
                for v in vs
            )
            for name, values in wanted
        )
    )
