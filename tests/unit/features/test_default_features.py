"""Feature values of a small shop, computed by hand."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from intarsia.errors import ReleaseMismatch
from intarsia.features.assemble import Assembler, assemble
from intarsia.features.default_set import FEATURES
from intarsia.features.stats import ProductStats, StatsLedger
from intarsia.records.candidates import Candidates
from intarsia.records.query import EncodedQuery
from tests.feature_cases import NOON, ExactVectors, Item, candidates_of, columns_of, encoded_query, event, take

SHOP = [
    Item(
        title="Red running shoes",
        description="Light shoes for the road",
        brand="Nike",
        category=("Sport", "Shoes"),
        attributes={"colour": ("red",), "size": ("42",)},
        price=5000,
        in_stock=1,
        updated_at=NOON - timedelta(days=3),
        num_images=2,
    ),
    Item(
        title="Shoes, running, red",
        brand="Puma",
        category=("Sport", "Shoes"),
        attributes={"colour": ("blue",)},
        price=1000,
    ),
    Item(title="Blue dress", category=("Women", "Dresses"), price=1000, currency="EUR"),
    Item(title="红色运动鞋", is_zh=True, price=3000),
    Item(title="Red wine glass", attributes={"colour": ("red",)}),
]


def values(
    query: EncodedQuery,
    candidates: Candidates | None = None,
    *,
    stats: ProductStats | None = None,
    vectors: dict[str, ExactVectors] | None = None,
) -> dict[str, list[float]]:
    """Feature -> value of each product of the shop."""
    candidates = candidates if candidates is not None else candidates_of(range(len(SHOP)))
    frame = assemble([query], [candidates], columns_of(SHOP), stats or ProductStats.empty(), vectors)
    matrix = FEATURES.compute(frame)
    return {name: column.tolist() for name, column in zip(matrix.names, matrix.values_nF.T, strict=True)}


def same(actual: list[float], expected: list[float | None]) -> bool:
    wanted = [np.nan if value is None else value for value in expected]
    return bool(np.allclose(actual, wanted, rtol=1e-6, equal_nan=True))


def test_coverage_is_the_share_of_the_querys_words() -> None:
    features = values(encoded_query("red running shoes nike"))
    assert same(features["title_coverage"], [0.75, 0.75, 0, 0, 0.25])
    assert same(features["brand_coverage"], [0.25, 0, 0, 0, 0])
    assert same(features["any_coverage"], [1, 0.75, 0, 0, 0.25])
    assert same(features["title_covered"], [1, 1, 0, 0, 1 / 3])


def test_a_phrase_must_be_in_order() -> None:
    features = values(encoded_query("red running shoes"))
    assert same(features["title_phrase"], [1, 0, 0, 0, 0])
    assert same(features["title_run"], [1, 1 / 3, 0, 0, 1 / 3])
    assert same(features["title_pairs"], [1, 0, 0, 0, 0])
    assert same(features["title_first_position"], [0, 0, None, None, 0])
    assert same(features["title_last_word"], [1, 1, 0, 0, 0])
    assert same(features["title_last_word_position"], [0, 2 / 3, None, None, None])


def test_words_match_by_stem() -> None:
    assert same(values(encoded_query("shoe"))["title_coverage"], [1, 1, 0, 0, 0])


def test_chinese_words_match() -> None:
    features = values(encoded_query("红色 运动鞋", locale="zh"))
    assert same(features["title_coverage"], [0, 0, 0, 1, 0])
    assert same(features["locale_agrees"], [0, 0, 0, 1, 0])


def test_a_query_without_words_leaves_text_features_missing() -> None:
    features = values(encoded_query(None, image=b"picture"))
    for name in (
        "title_coverage",
        "any_idf_coverage",
        "title_phrase",
        "title_similarity",
        "title_bm25",
        "rarest_word_found",
    ):
        assert same(features[name], [None] * 5), name
    assert same(features["query_length"], [0] * 5)
    assert same(features["query_has_image"], [1] * 5)


def test_a_misspelled_word_is_similar_to_the_right_one() -> None:
    features = values(encoded_query("runing"))  # its stem is rune, that of running is run
    assert same(features["title_coverage"], [0] * 5)
    assert same(features["unknown_words"], [1] * 5)
    assert features["title_similarity"][0] == features["title_similarity"][1] > features["title_similarity"][2]


def test_spelling_is_dice_over_trigrams() -> None:
    features = values(encoded_query("dreses"))  # its stem: <dr dre res ese se> ; the title's word: <dr dre res ess ss>
    assert same(features["title_similarity"][2:3], [2 * 3 / (5 + 5)])


def test_the_rarest_known_word_decides() -> None:
    features = values(encoded_query("red dress"))  # dress is in one product, red in three; unknown words are ignored
    assert same(features["rarest_word_found"], [0, 0, 1, 0, 0])
    assert same(values(encoded_query("xyzzy"))["rarest_word_found"], [None] * 5)


def test_numbers_match_in_any_field() -> None:
    assert same(values(encoded_query("red shoes 42"))["numbers_found"], [1, 0, 0, 0, 0])
    assert same(values(encoded_query("red shoes"))["numbers_found"], [None] * 5)


def test_attributes_agree_conflict_or_are_unknown() -> None:
    features = values(encoded_query("red shoes"))
    assert same(features["attributes_agree"], [1, 0, 0, 0, 1])
    assert same(features["attributes_conflict"], [0, 1, 0, 0, 0])
    assert same(features["attributes_unknown"], [0, 0, 1, 1, 0])
    assert same(features["attributes_named"], [1, 0, 0, 0, 1])
    assert same(features["attributes_words_agree"], [1, 0, 0, 0, 1])
    assert same(values(encoded_query("shoes"))["attributes_agree"], [None] * 5)


def test_a_named_brand_is_that_of_the_product_or_of_another() -> None:
    assert same(values(encoded_query("nike shoes"))["brand_is_named"], [1, 0, None, None, None])
    assert same(values(encoded_query("shoes"))["brand_is_named"], [None] * 5)


def test_a_named_category_is_that_of_the_product_or_of_another() -> None:
    features = values(encoded_query("sport shoes"))
    assert same(features["category_is_named"], [1, 1, 0, None, None])
    assert same(features["category_depth_named"], [1, 1, 0, None, None])


def test_missing_scores_stay_missing_and_a_single_hit_is_not_zero() -> None:
    nan = np.nan
    candidates = candidates_of(
        [0, 1, 2],
        scores=[[4.0, 0.5, nan], [2.0, 0.5, nan], [0.0, 0.5, 0.9]],
        ranks=[[1, 1, 0], [2, 2, 0], [0, 3, 1]],
        fused=[0.2, 0.9, 0.4],
    )
    features = values(encoded_query("red"), candidates)
    assert same(features["bm25_score"], [4, 2, 0])
    assert same(features["bm25_minmax"], [1, 0.5, 0])
    assert same(features["bm25_z"], [np.sqrt(1.5), 0, -np.sqrt(1.5)])
    assert same(features["bm25_reciprocal_rank"], [1, 0.5, None])
    assert same(features["text_minmax"], [1, 1, 1])
    assert same(features["text_z"], [0, 0, 0])
    assert same(features["image_minmax"], [None, None, 1])
    assert same(features["num_retrievers"], [2, 2, 2])
    assert same(features["fused_reciprocal_rank"], [1 / 3, 1, 1 / 2])


def test_prices_are_compared_within_their_currency() -> None:
    features = values(encoded_query("red"))
    assert same(features["price_percentile"], [2.5 / 3, 0.5 / 3, 0.5, 1.5 / 3, None])
    assert same(
        features["price_to_median"], [np.log1p(5000) - np.log1p(3000), np.log1p(1000) - np.log1p(3000), 0, 0, None]
    )
    assert same(features["has_price"], [1, 1, 1, 1, 0])


def test_completeness_and_freshness_of_the_product() -> None:
    features = values(encoded_query("red"))
    assert same(features["num_images"], [2, 0, 0, 0, 0])
    assert same(features["num_attributes"], [2, 1, 0, 0, 1])
    assert same(features["has_brand"], [1, 1, 0, 0, 0])
    assert same(features["category_depth"], [2, 2, 2, 0, 0])
    assert same(features["in_stock"], [1, None, None, None, None])
    assert same(features["days_since_update"], [3, None, None, None, None])
    assert same(
        values(encoded_query("red", at=NOON - timedelta(days=5)))["days_since_update"], [0, None, None, None, None]
    )


def test_popularity_comes_from_the_stats_and_is_nan_without_any() -> None:
    events = [event(1, "impression", "p000"), event(2, "impression", "p001"), event(3, "click", "p000", dwell_ms=50)]
    features = values(encoded_query("red"), stats=StatsLedger.empty().fold(*events).as_of(None))
    assert same(features["impressions_log"], [np.log(2), np.log(2), 0, 0, 0])
    assert same(features["click_rate"], [(1 + 20 * 0.5) / 21, 10 / 21, 0.5, 0.5, 0.5])
    assert same(features["dwell_log"], [np.log(51), None, None, None, None])
    assert same(values(encoded_query("red"))["purchases_log"], [None] * 5)


def test_feedback_is_the_cosine_to_the_other_trusted_products() -> None:
    vectors = {"image": ExactVectors({0: [[1, 0]], 1: [[0, 1]], 2: [[1, 1], [-1, 0]]}, dim=2)}
    candidates = candidates_of(range(4), fused=[0.9, 0.8, 0.0, 0.0])
    features = values(encoded_query("red"), candidates, vectors=vectors)
    mean_2 = (np.array([1, 1]) / np.sqrt(2) + np.array([-1, 0])) / 2
    for own, others in ((0, [0, 1] + mean_2), (1, [1, 0] + mean_2)):
        unit = others / np.linalg.norm(others)
        assert features["image_feedback"][own] == pytest.approx(unit[own], abs=1e-6)
    assert features["image_feedback"][2] == pytest.approx(
        1, abs=1e-6
    )  # its best view against the mean of [1, 0] and [0, 1]
    assert same(features["image_feedback"][3:], [None])
    assert same(features["text_feedback"], [None] * 4)
    assert same(values(encoded_query("red"), vectors=vectors)["image_feedback"], [None] * 5)


def test_an_unknown_retriever_is_refused() -> None:
    candidates = Candidates(
        release_id=candidates_of([]).release_id,
        rows_C=np.array([0]),
        retrievers=("smell",),
        scores_CR=np.ones((1, 1), np.float32),
        ranks_CR=np.ones((1, 1), np.int32),
        views_C=np.full(1, -1, np.int32),
    )
    with pytest.raises(
        ReleaseMismatch, match="candidates come from retriever smell; this release's features know bm25"
    ):
        values(encoded_query("red"), candidates)


def test_no_query_and_no_candidate_are_allowed() -> None:
    assembler = Assembler(columns_of(SHOP), ProductStats.empty())
    assert FEATURES.compute(assembler.assemble([encoded_query("red")], [candidates_of([])])).values_nF.shape == (
        0,
        len(FEATURES.names),
    )
    assert assembler.assemble([], []).num_rows == 0


def test_titles_without_a_word_are_allowed() -> None:
    frame = assemble(
        [encoded_query("red")],
        [candidates_of([0, 1])],
        columns_of([Item(title="!"), Item(title="?")]),
        ProductStats.empty(),
    )
    features = dict(zip(FEATURES.names, FEATURES.compute(frame).values_nF.T.tolist(), strict=True))
    assert same(features["title_coverage"], [0, 0])
    assert same(features["title_run"], [0, 0])


def test_a_very_long_query_is_truncated() -> None:
    features = values(encoded_query("shoes " + " ".join(f"w{n}" for n in range(500))))
    assert same(features["title_coverage"], [1 / 32, 1 / 32, 0, 0, 0])


def test_many_rows_permuted_and_split_give_the_same_bits(rng: np.random.Generator) -> None:
    names = ["red", "blue", "running", "shoes", "dress", "glass", "wine", "42"]
    items = [
        Item(
            title=" ".join(rng.choice(names, rng.integers(1, 6))),
            description=" ".join(rng.choice(names, rng.integers(0, 30))),
            price=float(rng.integers(1, 10**6)),
            updated_at=NOON - timedelta(seconds=int(rng.integers(10**7))),
        )
        for _ in range(203)
    ]
    vectors = {"text": ExactVectors({row: rng.normal(size=(1, 33)).tolist() for row in range(203)}, 33)}
    candidates = candidates_of(range(203), scores=rng.random((203, 3)).tolist(), fused=rng.random(203).tolist())
    frame = Assembler(columns_of(items), ProductStats.empty(), vectors).assemble(
        [encoded_query("red running shoes 42")], [candidates]
    )
    whole = FEATURES.compute(frame).values_nF
    order = rng.permutation(203)
    assert FEATURES.compute(take(frame, order)).values_nF.tobytes() == whole[order].tobytes()
    for cut in (1, 7, 64, 129):
        rows = np.arange(cut)
        assert FEATURES.compute(take(frame, rows)).values_nF.tobytes() == whole[:cut].tobytes()
