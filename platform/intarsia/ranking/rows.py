"""Labelled rows grouped by query: reading, packing into shards, and the statistics a fit computes on its own scores.

Letters: n rows, F features, G queries, S shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intarsia.maths.arrays import Floats, Ints
from intarsia.maths.grouped import Groups
from intarsia.maths.ndcg import ndcg_by_scores
from intarsia.records.judgment import Split

METRIC_AT = 10
"""Positions of the nDCG by which fits stop early and models are compared."""

_ROUNDING = 1e-9  # of the largest score: smaller differences between equal scores come from the rounding of their mean


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingRows:
    """Training rows of a ranker; those of query g are `offsets_G[g]:offsets_G[g + 1]`.

    Attributes:
        values_nF: feature values, float32 or float64; NaN means missing.
        labels_n: grade of each row, 0 or more.
        weights_n: weight of each row.
        offsets_G: int64 [G + 1].
        feature_names: names of the F columns.
    """

    values_nF: NDArray[np.floating]
    labels_n: NDArray[np.int32]
    weights_n: NDArray[np.float32]
    offsets_G: Ints
    feature_names: tuple[str, ...]

    def __post_init__(self) -> None:
        num_rows = len(self.labels_n)
        assert self.values_nF.shape == (num_rows, len(self.feature_names))
        assert self.weights_n.shape == (num_rows,)
        assert self.offsets_G[0] == 0 and self.offsets_G[-1] == num_rows

    @property
    def num_queries(self) -> int:
        return len(self.offsets_G) - 1

    def of_queries(self, queries: Sequence[int] | Ints) -> RankingRows:
        """All rows of the queries with these numbers, in that order."""
        bounds = [(int(self.offsets_G[g]), int(self.offsets_G[g + 1])) for g in queries]
        rows = np.concatenate([np.empty(0, np.int64), *(np.arange(start, stop) for start, stop in bounds)])
        return RankingRows(
            values_nF=self.values_nF[rows],
            labels_n=self.labels_n[rows],
            weights_n=self.weights_n[rows],
            offsets_G=np.concatenate([[0], np.cumsum([stop - start for start, stop in bounds])]).astype(np.int64),
            feature_names=self.feature_names,
        )

    def informative_queries(self) -> RankingRows:
        """The rows of queries with two different labels: the others change no tree and only blur the metric."""
        informative = [g for g in range(self.num_queries) if len(np.unique(self.labels_n[self._slice(g)])) > 1]
        return self.of_queries(informative)

    def _slice(self, g: int) -> slice:
        return slice(int(self.offsets_G[g]), int(self.offsets_G[g + 1]))


def read_rows(table: pa.Table, split: Split, feature_names: Sequence[str]) -> RankingRows:
    """The rows of one split of a `training_rows` table, in its order; the rows of a query must be adjacent."""
    rows = table.filter(pc.equal(table["split"], split))
    values_Fn = [rows[name].to_numpy() for name in feature_names]
    query_n = rows["query_id"].dictionary_encode().combine_chunks().indices.to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.diff(query_n, prepend=-1))
    assert len(starts) == len(np.unique(query_n)), "the rows of a query are adjacent"
    return RankingRows(
        values_nF=np.stack(values_Fn, axis=1) if len(rows) else np.empty((0, len(feature_names)), np.float32),
        labels_n=rows["label"].to_numpy().astype(np.int32),
        weights_n=rows["weight"].to_numpy().astype(np.float32),
        offsets_G=np.concatenate([starts, [len(rows)]]).astype(np.int64),
        feature_names=tuple(feature_names),
    )


def pack_queries(sizes_G: Ints, num_shards: int) -> list[list[int]]:
    """Pack whole queries into shards of about equal numbers of rows.

    The largest remaining query goes to the lightest shard; ties go to the smaller number.

    Args:
        sizes_G: number of rows of each query.
        num_shards: S, at most the number of queries, so that no shard is empty.

    Returns:
        For each shard its query numbers, ascending; every query is in exactly one shard.

    Raises:
        ValueError: fewer queries than shards.

    >>> pack_queries(np.array([3, 10, 4, 4]), 2)
    [[1], [0, 2, 3]]
    """
    if len(sizes_G) < num_shards:
        raise ValueError(f"{len(sizes_G)} queries for {num_shards} shards; allowed: at most one shard per query")
    shards: list[list[int]] = [[] for _ in range(num_shards)]
    loads_S = np.zeros(num_shards, np.int64)
    for g in np.lexsort((np.arange(len(sizes_G)), -sizes_G)):
        lightest = int(np.argmin(loads_S))
        shards[lightest].append(int(g))
        loads_S[lightest] += max(int(sizes_G[g]), 1)
    return [sorted(shard) for shard in shards]


def spread_within(scores_n: Floats, rows: RankingRows) -> float:
    """Standard deviation of scores around their query's mean; 0 if the scores of every query are equal."""
    return float(np.sqrt(np.mean(_centred(scores_n, rows) ** 2)))


def slope_within(scores_n: Floats, targets_n: Floats, rows: RankingRows) -> float:
    """Least-squares slope of the target over the score within queries; 0 if the scores of every query are equal."""
    centred_n = _centred(scores_n, rows)
    square = float(centred_n @ centred_n)
    return float(centred_n @ targets_n) / square if square else 0.0


def weighted_mean_ndcg(scores_n: Floats, rows: RankingRows, label_gain: Sequence[float]) -> float:
    """Mean nDCG@10 over queries, each weighted by the mean weight of its rows.

    As LightGBM computes it: equal scores keep their order, and a query without a positive counts as 1. The ideal order
    is that of the given rows; judged products that were not retrieved are not in it.
    """
    gains_n = np.array(label_gain)[rows.labels_n]
    ndcg_G = ndcg_by_scores(scores_n, gains_n, Groups(rows.offsets_G), METRIC_AT, without_positive=1.0)
    weights_G = np.add.reduceat(rows.weights_n, rows.offsets_G[:-1]) / np.diff(rows.offsets_G)
    return float(np.average(ndcg_G, weights=weights_G))


def _centred(values_n: Floats, rows: RankingRows) -> Floats:
    sizes_G = np.diff(rows.offsets_G)
    means_G = np.add.reduceat(values_n, rows.offsets_G[:-1]) / sizes_G
    centred_n = np.asarray(values_n - np.repeat(means_G, sizes_G), np.float64)
    noise = _ROUNDING * float(np.abs(values_n).max(initial=0.0))
    return np.where(np.abs(centred_n) <= noise, 0.0, centred_n)
