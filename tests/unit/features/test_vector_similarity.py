"""Word vectors learned from titles: exact where computed by hand, and None or NaN where nothing can be learned."""

from __future__ import annotations

import numpy as np
import pytest

from intarsia.features import vector_similarity
from intarsia.features.assemble import Assembler
from intarsia.features.default_set import FEATURES
from intarsia.features.ragged import lists
from intarsia.features.stats import ProductStats
from intarsia.features.vector_similarity import MIN_PRODUCTS, WordVectors
from tests.feature_cases import ExactVectors, Item, candidates_of, columns_of, encoded_query

RED, BLUE, SHOE, HAT, RARE = range(5)
WORD_VECTORS = {RED: [4, 0, 0, 0], BLUE: [0, 4, 0, 0], SHOE: [0, 0, 3, 0], HAT: [0, 0, 0, 3]}


def market(num_repeats: int) -> tuple[list[list[int]], ExactVectors]:
    """Red and blue shoes and hats; the vector of a product is the sum of the vectors of its two words."""
    titles = [[colour, thing] for colour in (RED, BLUE) for thing in (SHOE, HAT)] * num_repeats
    by_row = {
        row: [np.sum([WORD_VECTORS[word] for word in title], axis=0).tolist()] for row, title in enumerate(titles)
    }
    return titles, ExactVectors(by_row, dim=4)


def learned(titles: list[list[int]], vectors: ExactVectors) -> WordVectors:
    word_vectors = WordVectors.learn(lists(titles), 5, vectors)
    assert word_vectors is not None
    return word_vectors


def test_many_steps_reach_the_closed_form_of_ridge_regression(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(vector_similarity, "_STEPS", 60)
    titles = [rng.choice(4, size=rng.integers(1, 4), replace=False).tolist() for _ in range(50)]
    vectors = ExactVectors({row: rng.normal(size=(1, 6)).tolist() for row in range(50)}, dim=6)
    words_NW = np.zeros((50, 4))
    for row, title in enumerate(titles):
        words_NW[row, title] = 1.0
    targets_ND = np.concatenate([vectors.vectors_of(row) for row in range(50)]).astype(np.float64)
    expected_WD = np.linalg.solve(
        words_NW.T @ words_NW + 5.0 * np.eye(4), words_NW.T @ (targets_ND - targets_ND.mean(axis=0))
    )
    word_vectors = learned(titles, vectors)
    assert word_vectors.position_V.tolist() == [0, 1, 2, 3, -1]
    assert np.allclose(word_vectors.added_WD, expected_WD, atol=1e-5)
    assert np.allclose(word_vectors.mean_D, targets_ND.mean(axis=0), atol=1e-6)


def test_a_query_is_most_similar_to_the_product_with_all_its_words() -> None:
    titles, vectors = market(20)
    similarity = learned(titles, vectors).similarity(np.array([RED, SHOE], np.int32), np.arange(4), vectors)
    assert np.argsort(-similarity).tolist() == [0, 1, 2, 3]  # red shoe, red hat, blue shoe, blue hat
    assert similarity[0] > 0 > similarity[3]


def test_a_word_is_separated_from_the_words_it_occurs_with() -> None:
    """Most red products are shoes here; the word red must still mean the colour."""
    titles, vectors = market(20)
    titles = [*titles, *[[RED, SHOE]] * 60]
    by_row = {row: (vectors.vectors_of(row if row < 80 else 0)).tolist() for row in range(len(titles))}
    word_vectors = learned(titles, ExactVectors(by_row, dim=4))
    red = word_vectors.similarity(np.array([RED], np.int32), np.arange(4), vectors)
    assert min(red[:2]) - max(red[2:]) > 0.5 > 0.2 > abs(red[2] - red[3])


def test_repeated_words_count_once() -> None:
    titles, vectors = market(3)
    twice = [[*title, title[0]] for title in titles]
    assert learned(twice, vectors).added_WD.tobytes() == learned(titles, vectors).added_WD.tobytes()


def test_products_without_vectors_are_not_learned_from_and_score_nan() -> None:
    titles, vectors = market(3)
    word_vectors = learned([*titles, [RARE, RED]], vectors)
    assert word_vectors.added_WD.tobytes() == learned(titles, vectors).added_WD.tobytes()
    similarity = word_vectors.similarity(np.array([RED], np.int32), np.array([12, 0]), vectors)
    assert np.isnan(similarity[0]) and similarity[1] > 0


@pytest.mark.parametrize("codes", [[], [-1], [RARE]])
def test_a_query_without_a_learned_word_scores_nan(codes: list[int]) -> None:
    titles, vectors = market(3)
    titles[0] = [*titles[0], RARE]  # in one title only
    assert MIN_PRODUCTS == 2
    similarity = learned(titles, vectors).similarity(np.array(codes, np.int32), np.arange(4), vectors)
    assert np.isnan(similarity).all()


def test_nothing_is_learned_without_vectors_or_repeated_words() -> None:
    titles, vectors = market(1)
    assert WordVectors.learn(lists([]), 5, vectors) is None
    assert WordVectors.learn(lists(titles), 5, ExactVectors({}, dim=4)) is None
    assert WordVectors.learn(lists([[RED], [BLUE], [], []]), 5, vectors) is None  # no word of two products


def test_equal_vectors_give_no_direction() -> None:
    vectors = ExactVectors({row: [[1, 0]] for row in range(4)}, dim=2)
    word_vectors = learned([[RED], [RED], [BLUE], [BLUE]], vectors)
    assert np.isnan(word_vectors.similarity(np.array([RED], np.int32), np.arange(4), vectors)).all()


def test_a_large_catalog_is_read_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_similarity, "MAX_PRODUCTS", 10)
    titles, vectors = market(10)  # 40 products: every fourth is read, and all of those are red shoes
    assert learned(titles, vectors).position_V.tolist() == [0, -1, 1, -1, -1]


def test_several_images_are_learned_by_mean_and_scored_by_the_best() -> None:
    views = ExactVectors({0: [[1, 0], [0, 1]], 1: [[0, 1]], 2: [[1, 0]], 3: [[1, 0]]}, dim=2)
    word_vectors = learned([[RED], [RED], [BLUE], [BLUE]], views)
    assert np.allclose(word_vectors.mean_D, [(0.5 + 0 + 1 + 1) / 4, (0.5 + 1) / 4])
    red = word_vectors.similarity(np.array([RED], np.int32), np.arange(4), views)
    assert red[0] == red[1] > red[2]


def test_the_feature_connects_a_word_with_images() -> None:
    """The titles of the last two products name no colour; their images show one."""
    shop = [Item(title=f"{colour} bag") for colour in ("red", "blue") for _ in range(5)] + [Item(title="bag")] * 2
    images = ExactVectors({row: [[1, 0]] if row < 5 or row == 10 else [[0, 1]] for row in range(12)}, dim=2)
    assembler = Assembler(columns_of(shop), ProductStats.empty(), {"image": images})
    matrix = FEATURES.compute(assembler.assemble([encoded_query("red bag")], [candidates_of([10, 11])]))
    features = dict(zip(matrix.names, matrix.values_nF.T, strict=True))
    assert features["image_words"][0] > 0 > features["image_words"][1]
    assert np.isnan(features["text_words"]).all()
