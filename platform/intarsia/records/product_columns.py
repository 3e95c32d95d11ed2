"""The catalog as columns by row number, read by filters, features and results pages. Built by `catalog/columns.py`.

Letters: N products. A row number is the index of a product in the catalog sorted by product id; it is valid within one
release only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intarsia.ids import ProductId
from intarsia.records.feature_matrix import Ragged


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductColumns:
    """Struct of arrays over N products.

    Attributes:
        product_ids: ascending.
        price_minor: float64 [N], minor units; NaN: no price.
        in_stock: float64 [N], 1 or 0; NaN: unknown.
        updated_at_s: float64 [N], seconds since 1970 UTC; NaN: unknown.
        num_images: float64 [N].
        description_chars: float64 [N], length of the cleaned description.
        is_zh: float64 [N], 1 where the locale is zh, else 0.
        currency: int32 [N] code in `vocabularies["currency"]`; -1: no price.
        brand: int32 [N] code in `vocabularies["brand"]`; -1: none.
        categories: per row the codes (`vocabularies["category"]`, keys joined by " > ") of every prefix of its path,
            shortest first.
        attributes: per row the sorted codes (`vocabularies["attribute"]`, keys "name=value").
        words: field -> per row the codes (`vocabularies["word"]`) of `text.words`, in order, repeats kept; fields:
            title, description, brand, category, attributes.
        vocabularies: each maps a string to its code 0..; codes follow the sorted strings.
    """

    product_ids: tuple[ProductId, ...]
    price_minor: NDArray[np.float64]
    in_stock: NDArray[np.float64]
    updated_at_s: NDArray[np.float64]
    num_images: NDArray[np.float64]
    description_chars: NDArray[np.float64]
    is_zh: NDArray[np.float64]
    currency: NDArray[np.int32]
    brand: NDArray[np.int32]
    categories: Ragged
    attributes: Ragged
    words: Mapping[str, Ragged]
    vocabularies: Mapping[str, Mapping[str, int]]

    @property
    def num_rows(self) -> int:
        """Number of products N."""
        return len(self.product_ids)


WORD_FIELDS = ("title", "description", "brand", "category", "attributes")
CATEGORY_SEPARATOR = " > "
