"""What a fit sees of its own scores, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from intarsia.ranking.fit_metrics import slope_within, spread_within, weighted_mean_ndcg
from intarsia.ranking.rows import RankingRows

GAINS = (0.0, 1.0, 3.0)


def rows_of(labels: list[int], offsets: list[int], weights: list[float] | None = None) -> RankingRows:
    return RankingRows(
        values_nF=np.zeros((len(labels), 1), np.float32),
        labels_n=np.array(labels, np.int32),
        weights_n=np.array(weights or [1.0] * len(labels), np.float32),
        offsets_G=np.array(offsets, np.int64),
        feature_names=("one",),
    )


def test_ndcg_of_two_queries() -> None:
    swapped = (1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3))
    found = weighted_mean_ndcg(np.array([2.0, 1.0, 5.0, 5.0]), rows_of([1, 2, 1, 0], [0, 2, 4]), GAINS)
    assert found == pytest.approx((swapped + 1) / 2), "of equal scores the first stays first"
    weighed = weighted_mean_ndcg(np.array([2.0, 1.0, 5.0, 5.0]), rows_of([1, 2, 1, 0], [0, 2, 4], [3, 3, 1, 1]), GAINS)
    assert weighed == pytest.approx((3 * swapped + 1) / 4)


def test_the_eleventh_row_does_not_count_and_no_positive_counts_one() -> None:
    labels = [0] * 10 + [2]
    assert weighted_mean_ndcg(-np.arange(11.0), rows_of(labels, [0, 11]), GAINS) == 0
    assert weighted_mean_ndcg(np.zeros(3), rows_of([0, 0, 0], [0, 3]), GAINS) == 1


def test_the_spread_is_that_within_queries() -> None:
    assert spread_within(np.array([1.0, 3.0, 101.0, 103.0]), rows_of([0, 1, 0, 1], [0, 2, 4])) == pytest.approx(1)


def test_equal_scores_have_no_spread_and_no_slope_whatever_their_mean_rounds_to() -> None:
    rows, equal = rows_of([0, 1, 2], [0, 3]), np.full(3, 0.1)
    assert equal.mean() != 0.1
    assert spread_within(equal, rows) == 0
    assert slope_within(equal, np.arange(3.0), rows) == 0


def test_the_slope_is_that_within_queries() -> None:
    rows = rows_of([0, 1, 0, 1], [0, 2, 4])
    scores = np.array([0.0, 1.0, 10.0, 11.0])
    assert slope_within(scores, np.array([7.0, 9.0, 0.0, 2.0]), rows) == pytest.approx(2)
    assert slope_within(np.ones(4), scores, rows) == 0
