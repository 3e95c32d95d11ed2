from __future__ import annotations

import numpy as np
import pytest

from intarsia.fusion.feature.imputation import (
    CoPurchaseImputer,
    GeneratorImputer,
    Imputer,
    NeighbourImputer,
    co_purchase_pairs,
    impute_mean,
    impute_zeros,
)
from intarsia.fusion.protocol import ProductVectors

NUM = 40
WITHOUT_IMAGE = (3, 8, 21)


def vectors(rng: np.random.Generator, dim: int) -> np.ndarray:
    values = rng.normal(size=(NUM, dim)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def shop(rng: np.random.Generator) -> ProductVectors:
    """Products whose image vector is a rotation of their text vector; three have no image, row 8 has no text either."""
    text_ND = vectors(rng, 6)
    turn_DE = np.linalg.qr(rng.normal(size=(6, 6)))[0].astype(np.float32)
    image_NE = text_ND @ turn_DE
    has_N2 = np.ones((NUM, 2), np.bool_)
    has_N2[list(WITHOUT_IMAGE), 1] = False
    has_N2[8, 0] = False
    return ProductVectors(
        text_ND=np.where(has_N2[:, :1], text_ND, np.float32(0)),
        image_NE=np.where(has_N2[:, 1:], image_NE, np.float32(0)),
        has_N2=has_N2,
    )


IMPUTERS: dict[str, Imputer] = {
    "zero": impute_zeros,
    "mean": impute_mean,
    "neighbours": NeighbourImputer(num_neighbours=3),
    "bought together": CoPurchaseImputer(pairs_P2=np.array([[3, 5], [8, 9]]), counts_P=np.array([1.0, 2.0])),
    "generated": GeneratorImputer(generate=lambda text_nD: 3.0 * text_nD),
}


@pytest.mark.parametrize("name", IMPUTERS)
def test_existing_vectors_keep_their_bits_and_filled_ones_have_length_one(name: str, rng: np.random.Generator) -> None:
    products = shop(rng)
    has_image_N = products.has_N2[:, 1]
    filled_NE = IMPUTERS[name](products.text_ND, products.image_NE, has_image_N)
    assert filled_NE.dtype == np.float32
    assert np.array_equal(filled_NE[has_image_N], products.image_NE[has_image_N])
    norms_N = np.linalg.norm(filled_NE, axis=1)
    assert norms_N[norms_N > 0] == pytest.approx(1.0, abs=1e-6)
    assert norms_N[has_image_N].all()


@pytest.mark.parametrize("name", IMPUTERS)
def test_missing_rows_are_not_read(name: str, rng: np.random.Generator) -> None:
    products = shop(rng)
    has_N = products.has_N2[:, 1]
    garbage_NE = np.where(has_N[:, None], products.image_NE, np.float32(7.0))
    clean = IMPUTERS[name](products.text_ND, products.image_NE, has_N)
    assert np.array_equal(IMPUTERS[name](products.text_ND, garbage_NE, has_N), clean)


@pytest.mark.parametrize("name", IMPUTERS)
def test_a_catalog_without_images_is_allowed(name: str, rng: np.random.Generator) -> None:
    no_images = np.zeros((NUM, 6), np.float32)
    filled = IMPUTERS[name](vectors(rng, 6), no_images, np.zeros(NUM, np.bool_))
    assert np.isfinite(filled).all()


def test_impute_zeros_leaves_zeros(rng: np.random.Generator) -> None:
    products = shop(rng)
    filled_NE = impute_zeros(products.text_ND, products.image_NE, products.has_N2[:, 1])
    assert np.flatnonzero(~filled_NE.any(axis=1)).tolist() == list(WITHOUT_IMAGE)


def test_the_mean_is_over_existing_vectors() -> None:
    image_NE = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    filled = impute_mean(np.ones((3, 1), np.float32), image_NE, np.array([True, True, False]))
    assert filled[2].tolist() == pytest.approx([np.sqrt(0.5)] * 2)


def test_the_image_of_the_nearest_text_is_used() -> None:
    text_ND = np.array([[1, 0], [0, 1], [0.8, 0.6]], np.float32)
    image_NE = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    has_N = np.array([True, True, False])
    assert NeighbourImputer(num_neighbours=1)(text_ND, image_NE, has_N)[2].tolist() == [1.0, 0.0]
    both = NeighbourImputer(num_neighbours=2, temperature=0.1)(text_ND, image_NE, has_N)[2]
    assert both[1] / both[0] == pytest.approx(np.exp((0.6 - 0.8) / 0.1))  # the ratio of the two weights


def test_neighbours_are_closer_to_the_true_image_than_the_mean(rng: np.random.Generator) -> None:
    products = shop(rng)
    same_products = shop(np.random.default_rng(20_260))  # the same draws
    assert np.array_equal(products.text_ND, same_products.text_ND)
    by_neighbours = NeighbourImputer(num_neighbours=5)(products.text_ND, products.image_NE, products.has_N2[:, 1])
    by_mean = impute_mean(products.text_ND, products.image_NE, products.has_N2[:, 1])
    turn_DE = np.linalg.lstsq(
        products.text_ND[products.has_N2.all(axis=1)], products.image_NE[products.has_N2.all(axis=1)]
    )[0]
    for row in (3, 21):
        truth_E = products.text_ND[row] @ turn_DE
        assert by_neighbours[row] @ truth_E > by_mean[row] @ truth_E


def test_co_purchases_are_weighted_by_count_with_the_mean_as_fallback() -> None:
    image_NE = np.array([[1, 0], [0, 1], [0, 0], [0, 0]], np.float32)
    has_N = np.array([True, True, False, False])
    filled = CoPurchaseImputer(pairs_P2=np.array([[0, 2], [1, 2], [2, 3]]), counts_P=np.array([1.0, 2.0, 9.0]))(
        np.ones((4, 1), np.float32), image_NE, has_N
    )
    assert filled[2].tolist() == pytest.approx(np.array([1.0, 2.0]) / np.sqrt(5.0))
    assert filled[3].tolist() == pytest.approx([np.sqrt(0.5)] * 2)


def test_pairs_are_counted_once_per_basket() -> None:
    pairs_P2, counts_P = co_purchase_pairs([[5, 2, 5], [2, 5], [7], [2, 7], range(51)])
    assert pairs_P2.tolist() == [[2, 5], [2, 7]]
    assert counts_P.tolist() == [2.0, 1.0]
    assert co_purchase_pairs([])[0].shape == (0, 2)


def test_a_generator_for_another_encoder_is_refused() -> None:
    imputer = GeneratorImputer(generate=lambda text_nD: np.ones((len(text_nD), 5), np.float32))
    with pytest.raises(ValueError, match=r"the generator made \(1, 5\) for 1 products of width 3; it was trained for"):
        imputer(np.ones((2, 2), np.float32), np.ones((2, 3), np.float32), np.array([True, False]))


@pytest.mark.parametrize(("num", "temperature"), [(0, 0.1), (3, 0.0)])
def test_neighbours_without_number_or_temperature_are_refused(num: int, temperature: float) -> None:
    with pytest.raises(ValueError, match=rf"{num} neighbours at temperature {temperature}; allowed: 1 or more"):
        NeighbourImputer(num_neighbours=num, temperature=temperature)
