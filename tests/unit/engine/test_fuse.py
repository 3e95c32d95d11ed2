"""The vector of each product and modality is the unit mean of its views, compared with a slow oracle."""

from __future__ import annotations

import numpy as np
import pytest

from intarsia.engine.search import open_encoded_indexes, product_vectors
from tests.unit.engine.small_release import NUM_PRODUCTS, shop

SHOP = shop()


def slow_mean(name: str, row: int) -> tuple[list[float], bool]:
    stored_VD, rows_V, _ = SHOP.vectors[name]
    vectors_of_row = [stored_VD[v].astype(np.float64) for v in range(len(rows_V)) if rows_V[v] == row]
    if not vectors_of_row:
        return [0.0] * stored_VD.shape[1], False
    total_D = sum(vectors_of_row)
    return (total_D / np.sqrt((total_D**2).sum())).tolist(), True


def test_they_are_the_unit_means_of_each_products_views() -> None:
    vectors = product_vectors(open_encoded_indexes(SHOP.release / "indexes"))
    for column, (name, vectors_ND) in enumerate((("text", vectors.text_ND), ("image", vectors.image_NE))):
        assert vectors_ND.dtype == np.float32
        assert len(vectors_ND) == len(vectors.has_N2) == NUM_PRODUCTS
        for row in range(NUM_PRODUCTS):
            expected, has_vector = slow_mean(name, row)
            assert vectors_ND[row].tolist() == pytest.approx(expected, abs=1e-6)
            assert vectors.has_N2[row, column] == has_vector
    num_views = np.bincount(SHOP.vectors["image"][1], minlength=NUM_PRODUCTS)
    assert {0, 1, 2} == set(num_views.tolist())  # products with no, one and two images are covered
