from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from intarsia import text
from intarsia.errors import ArtifactError
from intarsia.index.bm25 import Bm25Config, Bm25Index, PostingsBuilder

TITLES = ["Red running shoes", "Blue shoes", "Red red wine", "红色运动鞋", ""]


def titles_only(*titles: str, k1: float = 1.0, b: float = 0.3) -> Bm25Index:
    return Bm25Index.build(Bm25Config(k1=k1, b=b, weights={"title": 1.0}), {"title": list(titles)})


def test_a_single_word_scores_its_idf() -> None:
    # both titles have one word: no length discount, tf 1 gives (k1 + 1) / (k1 + 1) = 1; N = 2, df = 1
    assert titles_only("shoes", "wine").scores("wine").tolist() == [0.0, np.float32(math.log(1 + 1.5 / 1.5))]


def test_the_order_of_words_in_the_query_changes_no_bit() -> None:
    index = titles_only(*TITLES)
    assert index.scores("red running shoes").tobytes() == index.scores("shoes red running").tobytes()


def test_a_repeated_query_word_counts_twice() -> None:
    index = titles_only(*TITLES)
    assert index.scores("wine wine").tolist() == (index.scores("wine") * 2).tolist()


def test_inflected_and_traditional_forms_match() -> None:
    index = titles_only(*TITLES)
    assert index.search("shoe runs", 5)[0].tolist() == [0, 1]
    assert index.search("紅色運動鞋", 5)[0].tolist() == [3]


def test_unknown_words_and_empty_queries_match_nothing() -> None:
    index = titles_only(*TITLES)
    for query in ("zebra", "", "!?"):
        assert not index.scores(query).any()
        assert index.search(query, 3)[0].tolist() == []


def test_search_is_best_first_with_ties_by_row_and_exact_filters() -> None:
    index = titles_only("red shoes", "red wine", "blue wine", "red hat")
    assert index.search("red wine", 4)[0].tolist() == [1, 2, 0, 3]
    rows, scores = index.search("red wine", 4, np.array([True, False, False, True]))
    assert rows.tolist() == [0, 3]
    assert scores[0] == scores[1] == index.scores("red wine")[0]


def test_a_field_with_more_weight_scores_higher() -> None:
    fields = {"title": ["lamp", "desk"], "description": ["desk", "lamp"]}
    index = Bm25Index.build(Bm25Config(weights={"title": 1.0, "description": 0.3}), fields)
    assert index.search("lamp", 2)[0].tolist() == [0, 1]


def test_a_field_without_weight_is_not_searched() -> None:
    index = Bm25Index.build(Bm25Config(weights={"title": 1.0}), {"title": ["lamp"], "brand": ["Acme"]})
    assert index.scores("acme").tolist() == [0.0]


def test_with_k1_zero_only_presence_counts() -> None:
    index = titles_only("red", "red red red", k1=0.0, b=0.0)
    assert index.scores("red")[0] == index.scores("red")[1]


def test_batches_in_any_order_give_the_same_postings() -> None:
    config = Bm25Config(weights={"title": 1.0, "brand": 0.5})
    tokens = [text.tokens(title) for title in TITLES]
    one_batch = PostingsBuilder(config, 5)
    one_batch.add(np.arange(5), {"title": tokens, "brand": [["red"]] * 5})
    many_batches = PostingsBuilder(config, 5)
    for row in (3, 0, 4, 2, 1):
        many_batches.add(np.array([row]), {"brand": [["red"]]})
        many_batches.add(np.array([row]), {"title": [tokens[row]]})
    first, second = one_batch.finish(), many_batches.finish()
    assert first.tokens == second.tokens
    for array in ("offsets", "rows", "impacts"):
        assert getattr(first, array).tobytes() == getattr(second, array).tobytes()


def test_an_index_is_the_same_after_saving(tmp_path: Path) -> None:
    index = titles_only(*TITLES, b=0.7)
    index.save(tmp_path)
    opened = Bm25Index.open(tmp_path)
    assert opened.config == index.config
    assert list(opened.vocabulary.items()) == list(index.vocabulary.items())
    assert opened.scores("red shoes 运动").tobytes() == index.scores("red shoes 运动").tobytes()


def test_a_catalog_without_words_is_allowed(tmp_path: Path) -> None:
    titles_only("", "!").save(tmp_path)
    assert Bm25Index.open(tmp_path).scores("red").tolist() == [0.0, 0.0]


def test_a_torn_folder_is_refused(tmp_path: Path) -> None:
    titles_only(*TITLES).save(tmp_path)
    (tmp_path / "impacts.npy").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"impacts\.npy has 0 bytes"):
        Bm25Index.open(tmp_path)


def test_files_of_two_builds_are_refused(tmp_path: Path) -> None:
    titles_only("red wine").save(tmp_path / "a")
    titles_only(*TITLES).save(tmp_path / "b")
    vocabulary = (tmp_path / "b" / "vocabulary.arrow").read_bytes()
    (tmp_path / "a" / "vocabulary.arrow").write_bytes(vocabulary)
    header = json.loads((tmp_path / "a" / "index.json").read_text())
    header["files"]["vocabulary.arrow"] = len(vocabulary)
    (tmp_path / "a" / "index.json").write_text(json.dumps(header))
    with pytest.raises(ArtifactError, match=r"the postings 2: the files are of two builds"):
        Bm25Index.open(tmp_path / "a")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"k1": -1.0}, r"k1 is -1\.0; allowed: 0 or more"),
        ({"b": 1.5}, r"b is 1\.5; allowed: 0\.\.1"),
        ({"weights": {}}, "weights is empty"),
        ({"weights": {"titel": 1.0}}, "weights has field 'titel'; allowed: title, description"),
        ({"weights": {"title": 0.0}}, r"weight of title is 0\.0; allowed: above 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Bm25Config(**settings)  # type: ignore[arg-type]
