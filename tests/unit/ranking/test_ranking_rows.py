"""Whole queries: packed, taken, read back from the table."""

from __future__ import annotations

import numpy as np
import pytest

from intarsia.features.labelled_rows import by_pair, training_rows
from intarsia.ids import ProductId, QueryId
from intarsia.ranking.rows import RankingRows, pack_queries, read_rows
from intarsia.records.feature_matrix import FeatureMatrix
from intarsia.records.judgment import JudgedQuery, Judgment, Split


def rows(labels: list[list[int]]) -> RankingRows:
    flat = [label for group in labels for label in group]
    return RankingRows(
        values_nF=np.arange(len(flat), dtype=np.float32)[:, np.newaxis],
        labels_n=np.array(flat, np.int32),
        weights_n=np.ones(len(flat), np.float32),
        offsets_G=np.cumsum([0, *map(len, labels)]).astype(np.int64),
        feature_names=("f",),
    )


def judged(query_id: str, split: Split) -> JudgedQuery:
    return JudgedQuery(query_id=QueryId(query_id), text="red", image=None, locale="en", split=split)


def test_the_largest_query_goes_to_the_lightest_shard() -> None:
    assert pack_queries(np.array([3, 10, 4, 4]), 2) == [[1], [0, 2, 3]]


def test_more_shards_than_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="2 queries for 3 shards; allowed: at most one shard per query"):
        pack_queries(np.array([5, 5]), 3)


def test_queries_are_taken_whole_in_the_asked_order() -> None:
    taken = rows([[0, 1], [2], [3, 0, 1]]).of_queries([2, 0])
    assert taken.labels_n.tolist() == [3, 0, 1, 0, 1]
    assert taken.values_nF[:, 0].tolist() == [3, 4, 5, 0, 1]
    assert taken.offsets_G.tolist() == [0, 3, 5]


def test_a_query_with_one_label_teaches_nothing() -> None:
    taught = rows([[0, 0], [1, 0], [2, 2], []]).informative_queries()
    assert (taught.num_queries, taught.labels_n.tolist()) == (1, [1, 0])
    assert rows([[0]]).informative_queries().num_queries == 0


def test_rows_come_back_from_the_table_by_split() -> None:
    matrix = FeatureMatrix(
        values_nF=np.array([[1, np.nan], [2, 0], [3, 0], [4, 0]], np.float32), names=("a", "b"), fingerprint="x"
    )
    judgments = [
        Judgment(query_id=QueryId("q1"), product_id=ProductId("p1"), grade=3, weight=0.5),
        Judgment(query_id=QueryId("q2"), product_id=ProductId("p9"), grade=2),  # was not retrieved: never a row
    ]
    products = [ProductId(p) for p in ("p1", "p2", "p3", "p1")]
    queries = [judged("q1", "train"), judged("q2", "validation")]
    table = training_rows(queries, matrix, np.array([0, 3, 4]), products, by_pair(judgments), seed=1)
    assert table.num_rows == 4
    train, validation = (read_rows(table, split, ("a", "b")) for split in ("train", "validation"))
    by_product = dict(zip(table["product_id"].to_pylist()[:3], train.labels_n.tolist(), strict=True))
    assert by_product == {"p1": 3, "p2": 0, "p3": 0}
    assert sorted(train.values_nF[:, 0].tolist()) == [1, 2, 3]
    assert sorted(train.weights_n.tolist()) == [0.5, 1, 1]
    assert np.isnan(train.values_nF[train.labels_n == 3, 1]).all()
    assert (validation.num_queries, validation.labels_n.tolist()) == (1, [0])
    assert read_rows(table, "test", ("a", "b")).num_queries == 0


def test_the_order_within_a_query_is_seeded_and_owes_nothing_to_the_candidates_order() -> None:
    products = [ProductId(f"p{n:02d}") for n in range(30)]
    values = np.arange(30, dtype=np.float32)[:, np.newaxis]

    def order(seed: int, at: list[int]) -> list[str]:
        matrix = FeatureMatrix(values_nF=values[at].copy(), names=("a",), fingerprint="x")
        table = training_rows(
            [judged("q", "train")], matrix, np.array([0, 30]), [products[n] for n in at], {}, seed=seed
        )
        found = table["product_id"].to_pylist()
        assert [f"p{int(a):02d}" for a in table["a"].to_pylist()] == found  # features moved with their product
        return found

    straight, turned = list(range(30)), list(range(29, -1, -1))
    assert order(1, straight) == order(1, turned) != sorted(order(1, straight))
    assert order(2, straight) != order(1, straight)
