from __future__ import annotations

from collections import Counter

import pytest

from intarsia import text
from intarsia.evaluation.known_items import KnownItemsConfig, is_synthetic, known_items
from intarsia.ids import ProductId, QueryId
from intarsia.records.judgment import Split

TITLES = {
    ProductId(f"p{number:02d}"): title
    for number, title in enumerate(
        [
            *(
                f"{colour} {thing} number{n}"
                for n in range(4)
                for colour in ("red", "blue")
                for thing in ("bag", "shoe")
            ),
            "红色女士手提包",
            "红色女士手提包",
            "solo",
        ]
    )
}
SPLITS: tuple[Split, ...] = ("train", "train", "train", "validation", "test")


def test_each_query_has_words_of_the_title_of_another_product() -> None:
    queries, judgments = known_items(TITLES, KnownItemsConfig(num_queries=100, noise=0.0), splits=SPLITS)
    target_of = {j.query_id: j.product_id for j in reversed(judgments)}
    assert len({text.fold(TITLES[target_of[q.query_id]]) + str(q.query_id) for q in queries}) == len(queries)
    for query in queries:
        assert query.text is not None
        query_words = set(text.unstemmed_words(query.text))
        assert query_words <= set(text.unstemmed_words(TITLES[target_of[query.query_id]]))


def test_synthetic_queries_are_recognised_by_their_id() -> None:
    queries, _ = known_items(TITLES, KnownItemsConfig(num_queries=100), splits=SPLITS)
    assert all(is_synthetic(query.query_id) for query in queries)
    assert not is_synthetic(QueryId("q-known-1"))


def test_all_products_of_the_same_title_are_relevant() -> None:
    queries, judgments = known_items(TITLES, KnownItemsConfig(num_queries=100, noise=0.0), splits=SPLITS)
    chinese = [q for q in queries if q.locale == "zh"]
    assert len(chinese) == 2
    for query in chinese:
        assert {j.product_id for j in judgments if j.query_id == query.query_id} == {"p16", "p17"}
    assert {j.grade for j in judgments} == {3.0}


def test_short_titles_are_skipped_and_splits_alternate() -> None:
    queries, judgments = known_items(TITLES, KnownItemsConfig(num_queries=100), splits=SPLITS)
    assert len(queries) == len(TITLES) - 1  # "solo"
    assert Counter(q.split for q in queries[:15]) == {"train": 9, "validation": 3, "test": 3}
    assert known_items(TITLES, KnownItemsConfig(num_queries=100), splits=SPLITS) == (queries, judgments)


def test_with_noise_one_word_of_the_title_stays() -> None:
    queries, judgments = known_items(TITLES, KnownItemsConfig(num_queries=100, noise=0.9), splits=SPLITS)
    target_of = {j.query_id: j.product_id for j in judgments}
    num_strange = 0
    for query in queries:
        assert query.text is not None
        query_words = set(text.unstemmed_words(query.text))
        title = set(text.unstemmed_words(TITLES[target_of[query.query_id]]))
        assert query_words & title or query.locale == "zh"  # joined Chinese words may be cut anew
        num_strange += not query_words <= title
    assert num_strange > len(queries) / 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_queries": 0}, r"num_queries is 0; allowed: 1 or more"),
        ({"min_words": 3, "max_words": 2}, r"min_words is 3, max_words 2; allowed: 1 <= min_words <= max_words"),
        ({"noise": 1.0}, r"noise is 1\.0; allowed: 0 or more, below 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KnownItemsConfig(**settings)  # type: ignore[arg-type]
