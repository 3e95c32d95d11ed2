"""What a catalog's titles teach of its vectors: exact where it can be worked out by hand, and refused nowhere."""

from __future__ import annotations

import numpy as np
import pytest

from intarsia.features import word_vectors
from intarsia.features.assemble import Assembler
from intarsia.features.default_set import FEATURES
from intarsia.features.ragged import lists
from intarsia.features.stats import ProductStats
from intarsia.features.word_vectors import MIN_PRODUCTS, WordVectors, learn_words
from tests.feature_cases import Item, Vectors, asked, candidates_of, columns_of

RED, BLUE, SHOE, HAT, RARE = range(5)
LOOKS = {RED: [4, 0, 0, 0], BLUE: [0, 4, 0, 0], SHOE: [0, 0, 3, 0], HAT: [0, 0, 0, 3]}


def market(num_each: int) -> tuple[list[list[int]], Vectors]:
    """Red and blue shoes and hats, whose vector is the sum of what their two words look like."""
    titles = [[colour, thing] for colour in (RED, BLUE) for thing in (SHOE, HAT)] * num_each
    looks = {row: [np.sum([LOOKS[word] for word in title], axis=0).tolist()] for row, title in enumerate(titles)}
    return titles, Vectors(looks, dim=4)


def learned(titles: list[list[int]], vectors: Vectors) -> WordVectors:
    found = WordVectors.learn(lists(titles), 5, vectors)
    assert found is not None
    return found


def test_many_steps_reach_the_closed_form_of_ridge_regression(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(word_vectors, "_STEPS", 60)
    titles = [rng.choice(4, size=rng.integers(1, 4), replace=False).tolist() for _ in range(50)]
    vectors = Vectors({row: rng.normal(size=(1, 6)).tolist() for row in range(50)}, dim=6)
    words_NW = np.zeros((50, 4))
    for row, title in enumerate(titles):
        words_NW[row, title] = 1.0
    targets_ND = np.concatenate([vectors.vectors_of(row) for row in range(50)]).astype(np.float64)
    expected_WD = np.linalg.solve(
        words_NW.T @ words_NW + 5.0 * np.eye(4), words_NW.T @ (targets_ND - targets_ND.mean(axis=0))
    )
    found = learned(titles, vectors)
    assert found.place_V.tolist() == [0, 1, 2, 3, -1]
    assert np.allclose(found.added_WD, expected_WD, atol=1e-5)
    assert np.allclose(found.mean_D, targets_ND.mean(axis=0), atol=1e-6)


def test_a_query_is_nearest_to_the_product_that_looks_like_its_words_together() -> None:
    titles, vectors = market(20)
    likeness = learned(titles, vectors).likeness(np.array([RED, SHOE], np.int32), np.arange(4), vectors)
    assert np.argsort(-likeness).tolist() == [0, 1, 2, 3]  # red shoe, red hat, blue shoe, blue hat
    assert likeness[0] > 0 > likeness[3]


def test_a_word_is_told_apart_from_the_words_it_stands_beside() -> None:
    """Most red things are shoes here, and still the colour decides, not the shoe."""
    titles, vectors = market(20)
    titles = [*titles, *[[RED, SHOE]] * 60]
    looks = {row: (vectors.vectors_of(row if row < 80 else 0)).tolist() for row in range(len(titles))}
    found = learned(titles, Vectors(looks, dim=4))
    red = found.likeness(np.array([RED], np.int32), np.arange(4), vectors)
    assert min(red[:2]) - max(red[2:]) > 0.5 > 0.2 > abs(red[2] - red[3])


def test_repeated_words_count_once() -> None:
    titles, vectors = market(3)
    twice = [[*title, title[0]] for title in titles]
    assert learned(twice, vectors).added_WD.tobytes() == learned(titles, vectors).added_WD.tobytes()


def test_products_without_vectors_teach_nothing_and_are_unknown() -> None:
    titles, vectors = market(3)
    found = learned([*titles, [RARE, RED]], vectors)
    assert found.added_WD.tobytes() == learned(titles, vectors).added_WD.tobytes()
    likeness = found.likeness(np.array([RED], np.int32), np.array([12, 0]), vectors)
    assert np.isnan(likeness[0]) and likeness[1] > 0


@pytest.mark.parametrize("codes", [[], [-1], [RARE]])
def test_a_query_without_a_learned_word_says_nothing(codes: list[int]) -> None:
    titles, vectors = market(3)
    titles[0] = [*titles[0], RARE]  # in one title only
    assert MIN_PRODUCTS == 2
    likeness = learned(titles, vectors).likeness(np.array(codes, np.int32), np.arange(4), vectors)
    assert np.isnan(likeness).all()


def test_nothing_is_learned_from_nothing() -> None:
    titles, vectors = market(1)
    assert learn_words(lists(titles), 5, None) is None
    assert WordVectors.learn(lists([]), 5, vectors) is None
    assert WordVectors.learn(lists(titles), 5, Vectors({}, dim=4)) is None
    assert WordVectors.learn(lists([[RED], [BLUE], [], []]), 5, vectors) is None  # no word of two products


def test_equal_vectors_teach_no_direction() -> None:
    vectors = Vectors({row: [[1, 0]] for row in range(4)}, dim=2)
    found = learned([[RED], [RED], [BLUE], [BLUE]], vectors)
    assert np.isnan(found.likeness(np.array([RED], np.int32), np.arange(4), vectors)).all()


def test_a_large_catalog_is_read_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_vectors, "MAX_PRODUCTS", 10)
    titles, vectors = market(10)  # 40 products: every fourth is read, and those are all red shoes
    assert learned(titles, vectors).place_V.tolist() == [0, -1, 1, -1, -1]


def test_a_product_with_several_images_teaches_their_mean_and_scores_by_the_best() -> None:
    views = Vectors({0: [[1, 0], [0, 1]], 1: [[0, 1]], 2: [[1, 0]], 3: [[1, 0]]}, dim=2)
    found = learned([[RED], [RED], [BLUE], [BLUE]], views)
    assert np.allclose(found.mean_D, [(0.5 + 0 + 1 + 1) / 4, (0.5 + 1) / 4])
    red = found.likeness(np.array([RED], np.int32), np.arange(4), views)
    assert red[0] == red[1] > red[2]


def test_the_features_know_which_image_a_word_means() -> None:
    """No title of the last two products names a colour: their pictures do."""
    shop = [Item(title=f"{colour} bag") for colour in ("red", "blue") for _ in range(5)] + [Item(title="bag")] * 2
    images = Vectors({row: [[1, 0]] if row < 5 or row == 10 else [[0, 1]] for row in range(12)}, dim=2)
    assembler = Assembler(columns_of(shop), ProductStats.empty(), {"image": images})
    matrix = FEATURES.compute(assembler.assemble([asked("red bag")], [candidates_of([10, 11])]))
    shown = dict(zip(matrix.names, matrix.values_nF.T, strict=True))
    assert shown["image_words"][0] > 0 > shown["image_words"][1]
    assert np.isnan(shown["text_words"]).all()
