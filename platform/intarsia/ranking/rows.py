"""Labelled rows grouped by query, and how whole queries are packed into shards. How a model is fitted to them is `lambdamart.py`'s matter.

Letters: n rows, F features, G queries, S shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from intarsia.records.judgment import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingRows:
    """What a ranker learns from: rows of query g are `offsets_G[g]:offsets_G[g + 1]`.

    Attributes:
        values_nF: float32 or float64; NaN is missing.
        labels_n: grade 0.. of each row.
        weights_n: weight of each row.
        offsets_G: int64 [G + 1].
        feature_names: of the columns.
    """

    values_nF: NDArray[np.floating]
    labels_n: NDArray[np.int32]
    weights_n: NDArray[np.float32]
    offsets_G: NDArray[np.int64]
    feature_names: tuple[str, ...]

    def __post_init__(self) -> None:
        num_rows = len(self.labels_n)
        assert self.values_nF.shape == (num_rows, len(self.feature_names))
        assert self.weights_n.shape == (num_rows,)
        assert self.offsets_G[0] == 0 and self.offsets_G[-1] == num_rows

    @property
    def num_queries(self) -> int:
        """G."""
        return len(self.offsets_G) - 1

    def of_queries(self, queries: Sequence[int] | NDArray[np.int64]) -> RankingRows:
        """The rows of some queries, whole, in that order."""
        bounds = [(int(self.offsets_G[g]), int(self.offsets_G[g + 1])) for g in queries]
        at = np.concatenate([np.empty(0, np.int64), *(np.arange(start, stop) for start, stop in bounds)])
        return RankingRows(
            values_nF=self.values_nF[at],
            labels_n=self.labels_n[at],
            weights_n=self.weights_n[at],
            offsets_G=np.concatenate([[0], np.cumsum([stop - start for start, stop in bounds])]).astype(np.int64),
            feature_names=self.feature_names,
        )

    def informative_queries(self) -> RankingRows:
        """Without the queries whose rows all have one label: they move no tree and only blur the metric."""
        teaches = [g for g in range(self.num_queries) if len(np.unique(self.labels_n[self._slice(g)])) > 1]
        return self.of_queries(teaches)

    def _slice(self, g: int) -> slice:
        return slice(int(self.offsets_G[g]), int(self.offsets_G[g + 1]))


def read_rows(table: pa.Table, split: Split, feature_names: Sequence[str]) -> RankingRows:
    """The rows of one split of a `training_rows` table, in the table's order; a query's rows stand together there."""
    rows = table.filter(pc.equal(table["split"], split))
    values_Fn = [rows[name].to_numpy() for name in feature_names]
    query_n = rows["query_id"].dictionary_encode().combine_chunks().indices.to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.diff(query_n, prepend=-1))
    assert len(starts) == len(np.unique(query_n)), "a query's rows stand together"
    return RankingRows(
        values_nF=np.stack(values_Fn, axis=1) if len(rows) else np.empty((0, len(feature_names)), np.float32),
        labels_n=rows["label"].to_numpy().astype(np.int32),
        weights_n=rows["weight"].to_numpy().astype(np.float32),
        offsets_G=np.concatenate([starts, [len(rows)]]).astype(np.int64),
        feature_names=tuple(feature_names),
    )


def pack_queries(sizes_G: NDArray[np.int64], num_shards: int) -> list[list[int]]:
    """Whole queries into shards of about equal rows: the largest left goes to the lightest shard, ties to the smaller number.

    Args:
        sizes_G: rows of each query.
        num_shards: S, at most the number of queries, so that no shard is empty.

    Returns:
        Per shard its query numbers, ascending; every query in exactly one shard.

    Raises:
        ValueError: fewer queries than shards.
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
