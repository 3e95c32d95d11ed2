"""Ranking rows: packing, selecting and reading whole queries, and the statistics of a fit's own scores."""

from __future__ import annotations

import numpy as np
import pytest

from intarsia.features.labelled_rows import by_pair, training_rows
from intarsia.ids import ProductId, QueryId
from intarsia.ranking.rows import RankingRows, pack_queries, read_rows, slope_within, spread_within, weighted_mean_ndcg
from intarsia.records.feature_matrix import FeatureMatrix
from intarsia.records.judgment import JudgedQuery, Judgment, Split

GAINS = (0.0, 1.0, 3.0)


def rows_of(labels: list[list[int]], weights: list[float] | None = None) -> RankingRows:
    """One list of labels per query; the feature of a row is its number."""
    flat = [label for group in labels for label in group]
    return RankingRows(
        values_nF=np.arange(len(flat), dtype=np.float32)[:, np.newaxis],
        labels_n=np.array(flat, np.int32),
        weights_n=np.array(weights or [1.0] * len(flat), np.float32),
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


def test_queries_are_selected_whole_in_the_given_order() -> None:
    selected = rows_of([[0, 1], [2], [3, 0, 1]]).of_queries([2, 0])
    assert selected.labels_n.tolist() == [3, 0, 1, 0, 1]
    assert selected.values_nF[:, 0].tolist() == [3, 4, 5, 0, 1]
    assert selected.offsets_G.tolist() == [0, 3, 5]


def test_a_query_with_one_label_is_not_informative() -> None:
    informative = rows_of([[0, 0], [1, 0], [2, 2], []]).informative_queries()
    assert (informative.num_queries, informative.labels_n.tolist()) == (1, [1, 0])
    assert rows_of([[0]]).informative_queries().num_queries == 0


def test_rows_are_read_from_the_table_by_split() -> None:
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


def test_row_order_in_a_query_depends_on_the_seed_not_on_the_candidates() -> None:
    products = [ProductId(f"p{n:02d}") for n in range(30)]
    values = np.arange(30, dtype=np.float32)[:, np.newaxis]

    def order(seed: int, candidates: list[int]) -> list[str]:
        matrix = FeatureMatrix(values_nF=values[candidates].copy(), names=("a",), fingerprint="x")
        table = training_rows(
            [judged("q", "train")], matrix, np.array([0, 30]), [products[n] for n in candidates], {}, seed=seed
        )
        product_ids = table["product_id"].to_pylist()
        assert [f"p{int(a):02d}" for a in table["a"].to_pylist()] == product_ids  # features moved with their product
        return product_ids

    forward, backward = list(range(30)), list(range(29, -1, -1))
    assert order(1, forward) == order(1, backward) != sorted(order(1, forward))
    assert order(2, forward) != order(1, forward)


def test_ndcg_of_two_queries() -> None:
    swapped = (1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3))
    scores = np.array([2.0, 1.0, 5.0, 5.0])
    assert weighted_mean_ndcg(scores, rows_of([[1, 2], [1, 0]]), GAINS) == pytest.approx((swapped + 1) / 2), "ties"
    weighted = weighted_mean_ndcg(scores, rows_of([[1, 2], [1, 0]], [3, 3, 1, 1]), GAINS)
    assert weighted == pytest.approx((3 * swapped + 1) / 4)


def test_the_eleventh_row_does_not_count_and_no_positive_counts_as_one() -> None:
    assert weighted_mean_ndcg(-np.arange(11.0), rows_of([[0] * 10 + [2]]), GAINS) == 0
    assert weighted_mean_ndcg(np.zeros(3), rows_of([[0, 0, 0]]), GAINS) == 1


def test_the_spread_is_that_within_queries() -> None:
    assert spread_within(np.array([1.0, 3.0, 101.0, 103.0]), rows_of([[0, 1], [0, 1]])) == pytest.approx(1)


def test_equal_scores_have_no_spread_and_no_slope_despite_rounding() -> None:
    rows, equal = rows_of([[0, 1, 2]]), np.full(3, 0.1)
    assert equal.mean() != 0.1
    assert spread_within(equal, rows) == 0
    assert slope_within(equal, np.arange(3.0), rows) == 0


def test_the_slope_is_that_within_queries() -> None:
    rows = rows_of([[0, 1], [0, 1]])
    scores = np.array([0.0, 1.0, 10.0, 11.0])
    assert slope_within(scores, np.array([7.0, 9.0, 0.0, 2.0]), rows) == pytest.approx(2)
    assert slope_within(np.ones(4), scores, rows) == 0
