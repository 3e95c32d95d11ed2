"""Vector search over products with zero or more vectors each: exact (`FlatIndex`) and approximate (`HnswIndex`).

Letters: Q queries, D width, N products, V views (stored vectors), k depth, C candidates.

Every score is `np.vecdot(vectors, query)`, one dot product per stored vector. Unlike a matrix product, its bits do not
depend on the other rows, so a product has the same score in a batch, filtered and sharded. One core reads 15,000 x 384
in 0.9 ms that way, 50,000 x 384 in 6 ms; a matrix product, FAISS flat and faiss.knn take the same time, because all
four wait for memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from intarsia.ids import SpaceId
from intarsia.index.top_k import top_k
from intarsia.maths.arrays import Bools, Float32s, Ints
from intarsia.maths.unit_vectors import unit_vectors
from intarsia.records.candidates import best_first

_MEANS_AT_ONCE = 4096  # rows whose means are computed together: bounds memory
_GATHER_BELOW = 0.05  # share of allowed rows below which their vectors are copied and scored, instead of all in place
_GRAPH_FILE = "graph.faiss"
_SPARE_VIEWS = 16  # requested beyond k: the graph may order near-ties differently from the exact scores
_EXACT_ABOVE = 0.1  # share of all views above which a shortlist costs more than an exact scan


class VectorHits(NamedTuple):
    """The best rows of each query, best first, ties by smaller row.

    A list shorter than k is padded with row -1, score NaN, view -1.
    """

    rows_Qk: Ints
    scores_Qk: Float32s
    views_Qk: NDArray[np.int32]


class VectorIndex(Protocol):
    """Cosine search; the score of a product is that of its best view (late pooling)."""

    @property
    def space_id(self) -> SpaceId:
        """The space of the stored vectors; the engine refuses a query of another space."""
        ...

    def search(self, queries_QD: Float32s, k: int, allowed_N: Bools | None) -> VectorHits:
        """The k best products of each query among the allowed ones (None: all)."""
        ...

    def score_rows(self, query_D: Float32s, rows_C: Ints) -> tuple[Float32s, NDArray[np.int32]]:
        """(score, best view) of rows, with the same bits in any batch; (NaN, -1) for a row without vectors."""
        ...

    def matches(self, query_D: Float32s, floor: float) -> Bools:
        """Bool [N]: the products whose score is `floor` or more."""
        ...

    def vectors_of(self, row: int) -> Float32s:
        """float32 [views of the row, D] in view order; used for seed products and feedback features."""
        ...

    def unit_means(self) -> tuple[Float32s, Bools]:
        """float32 [N, D]: unit mean of each row's vectors, zeros without any; and bool [N]: which rows have vectors."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVectors:
    """The unit vectors of an index and their exact scores; ties between views go to the smaller view.

    Attributes:
        space_id: the space of the vectors.
        vectors_VD: float32, may be memory-mapped.
        rows_V: int64, the product of each vector, ascending.
        views_V: int32, the view number of each vector, ascending within a product; gaps are allowed (an unreadable
            image).
        num_rows: N.
    """

    space_id: SpaceId
    vectors_VD: Float32s
    rows_V: Ints
    views_V: NDArray[np.int32]
    num_rows: int
    _starts: Ints = field(init=False)  # [N + 1], views of row r are _starts[r]:_starts[r + 1]
    _rows_with_views: Ints = field(init=False)  # ascending rows that have at least one vector

    def __post_init__(self) -> None:
        assert self.vectors_VD.ndim == 2 and self.vectors_VD.dtype == np.float32
        assert self.rows_V.shape == (len(self.vectors_VD),) and self.rows_V.dtype == np.int64
        assert self.views_V.shape == self.rows_V.shape and self.views_V.dtype == np.int32
        starts = np.searchsorted(self.rows_V, np.arange(self.num_rows + 1)).astype(np.int64)
        object.__setattr__(self, "_starts", starts)
        object.__setattr__(self, "_rows_with_views", np.flatnonzero(np.diff(starts)))

    @property
    def dim(self) -> int:
        return int(self.vectors_VD.shape[1])

    @property
    def num_views(self) -> int:
        return len(self.rows_V)

    def scores(self, query_D: Float32s) -> Float32s:
        """float32 [N]: the score of every product; NaN without vectors."""
        self._check(query_D)
        scores_N = np.full(self.num_rows, np.nan, np.float32)
        if self.num_views:
            scores_V = np.vecdot(self.vectors_VD, query_D)
            scores_N[self._rows_with_views] = np.maximum.reduceat(scores_V, self._starts[self._rows_with_views])
        return scores_N

    def score_rows(self, query_D: Float32s, rows_C: Ints) -> tuple[Float32s, NDArray[np.int32]]:
        """(score, best view) of rows in any order, repeats allowed; (NaN, -1) for a row without vectors."""
        self._check(query_D)
        scores_C = np.full(len(rows_C), np.nan, np.float32)
        views_C = np.full(len(rows_C), -1, np.int32)
        counts_C = self._starts[rows_C + 1] - self._starts[rows_C]
        scored = np.flatnonzero(counts_C)
        if len(scored):
            counts = counts_C[scored]
            offsets = np.cumsum(counts) - counts  # first gathered vector of each row
            stored = np.arange(counts.sum()) + np.repeat(self._starts[rows_C[scored]] - offsets, counts)
            scores = np.vecdot(self.vectors_VD[stored], query_D)
            best = np.maximum.reduceat(scores, offsets)
            is_best = scores == np.repeat(best, counts)
            scores_C[scored] = best
            views_C[scored] = self.views_V[np.minimum.reduceat(np.where(is_best, stored, self.num_views), offsets)]
        return scores_C, views_C

    def vectors_of(self, row: int) -> Float32s:
        """float32 [views of the row, D], in view order."""
        return self.vectors_VD[self._starts[row] : self._starts[row + 1]]

    def unit_means(self) -> tuple[Float32s, Bools]:
        """float32 [N, D]: unit mean of each row's vectors, zeros without any; and bool [N]: which rows have vectors.

        If every row has exactly one vector, the stored array is returned without a copy.
        """
        has_N = np.diff(self._starts) > 0
        if self.num_views == self.num_rows and has_N.all():
            return self.vectors_VD, has_N
        means_ND = np.zeros((self.num_rows, self.dim), np.float32)
        for start in range(0, len(self._rows_with_views), _MEANS_AT_ONCE):
            rows = self._rows_with_views[start : start + _MEANS_AT_ONCE]
            first, past = self._starts[rows[0]], self._starts[rows[-1] + 1]
            sums = np.add.reduceat(self.vectors_VD[first:past], self._starts[rows] - first, axis=0, dtype=np.float64)
            means_ND[rows] = unit_vectors(sums)
        return means_ND, has_N

    def _check(self, query_D: Float32s) -> None:
        assert query_D.shape == (self.dim,) and query_D.dtype == np.float32, (
            f"query is {query_D.dtype} {query_D.shape}; this index holds float32 [{self.dim}]"
        )


class FlatIndex:
    """Exact search: scores every allowed product. Fast enough below about 100,000 views.

    >>> vectors_VD, views_V = np.eye(2, dtype=np.float32), np.zeros(2, np.int32)
    >>> stored = StoredVectors(
    ...     space_id=SpaceId("text-1"), vectors_VD=vectors_VD, rows_V=np.arange(2), views_V=views_V, num_rows=2
    ... )
    >>> FlatIndex(stored).search(vectors_VD[1:], k=2, allowed_N=None).rows_Qk.tolist()
    [[1, 0]]
    """

    def __init__(self, stored: StoredVectors) -> None:
        self.stored = stored
        self._last: tuple[bytes, Float32s] = (b"", np.empty(0, np.float32))

    @property
    def space_id(self) -> SpaceId:
        return self.stored.space_id

    def search(self, queries_QD: Float32s, k: int, allowed_N: Bools | None) -> VectorHits:
        hits = _empty_hits(len(queries_QD), k)
        rows_to_gather = self._rows_to_gather(allowed_N)
        for q, query_D in enumerate(queries_QD):
            if rows_to_gather is None:
                scores_N = self._scores(query_D)
            else:
                scores_N = np.full(self.stored.num_rows, np.nan, np.float32)
                scores_N[rows_to_gather] = self.stored.score_rows(query_D, rows_to_gather)[0]
            _write_hits(hits, q, self.stored, query_D, top_k(scores_N, k, allowed_N))
        return hits

    def score_rows(self, query_D: Float32s, rows_C: Ints) -> tuple[Float32s, NDArray[np.int32]]:
        return self.stored.score_rows(query_D, rows_C)

    def matches(self, query_D: Float32s, floor: float) -> Bools:
        return self._scores(query_D) >= np.float32(floor)

    def vectors_of(self, row: int) -> Float32s:
        return self.stored.vectors_of(row)

    def unit_means(self) -> tuple[Float32s, Bools]:
        return self.stored.unit_means()

    def _scores(self, query_D: Float32s) -> Float32s:
        """float32 [N], not to be modified: cached, so `search` and `matches` of one query read the vectors once."""
        query, (last_query, last_scores_N) = query_D.tobytes(), self._last
        if query == last_query:
            return last_scores_N
        scores_N = self.stored.scores(query_D)
        self._last = (query, scores_N)  # one assignment: another thread sees the old pair or the new one
        return scores_N

    def _rows_to_gather(self, allowed_N: Bools | None) -> Ints | None:
        """The few rows to copy and score, or None if scoring all rows in place is cheaper."""
        if allowed_N is None:
            return None
        rows = np.flatnonzero(allowed_N)
        return rows if len(rows) < _GATHER_BELOW * self.stored.num_rows else None


class HnswIndex:
    """Approximate search for large catalogs: a navigable small-world graph makes a shortlist, exact scores order it.

    Only unfiltered search uses the graph; filtered search, deep search, `score_rows` and `matches` are exact. The graph
    may miss a view: recall@100 against exact search is at least 0.95 at the default settings on the clustered vectors
    of `benchmarks/vector_search.py` (tested).

    Source: Malkov and Yashunin, IEEE TPAMI 42(4), 2020, doi:10.1109/TPAMI.2018.2889473; implemented by FAISS.
    """

    def __init__(self, stored: StoredVectors, graph: Any, *, ef_search: int) -> None:
        self.stored = stored
        self._exact = FlatIndex(stored)
        self._graph = graph
        self._ef_search = ef_search

    @classmethod
    def open(cls, folder: Path, stored: StoredVectors, *, ef_search: int) -> HnswIndex:
        """Memory-map the graph of a folder; sets FAISS to one thread, since a replica serves one query at a time."""
        faiss.omp_set_num_threads(1)
        graph = faiss.read_index(str(folder / _GRAPH_FILE), faiss.IO_FLAG_MMAP_IFC)
        assert graph.ntotal == stored.num_views and graph.d == stored.dim
        return cls(stored, graph, ef_search=ef_search)

    @property
    def space_id(self) -> SpaceId:
        return self.stored.space_id

    def search(self, queries_QD: Float32s, k: int, allowed_N: Bools | None) -> VectorHits:
        """See `VectorIndex`; exact if `allowed_N` is given or k is a large share of the catalog."""
        if allowed_N is not None:
            return self._exact.search(queries_QD, k, allowed_N)
        hits = _empty_hits(len(queries_QD), k)
        for q, query_D in enumerate(queries_QD):
            _write_hits(hits, q, self.stored, query_D, self._best_rows(query_D, k))
        return hits

    def score_rows(self, query_D: Float32s, rows_C: Ints) -> tuple[Float32s, NDArray[np.int32]]:
        return self.stored.score_rows(query_D, rows_C)

    def matches(self, query_D: Float32s, floor: float) -> Bools:
        return self._exact.matches(query_D, floor)

    def vectors_of(self, row: int) -> Float32s:
        return self.stored.vectors_of(row)

    def unit_means(self) -> tuple[Float32s, Bools]:
        return self.stored.unit_means()

    def _best_rows(self, query_D: Float32s, k: int) -> Ints:
        rows = self._shortlist(query_D, k)
        if rows is None:
            return top_k(self.stored.scores(query_D), k)
        scores, _ = self.stored.score_rows(query_D, rows)
        return rows[best_first(scores, rows)][:k]

    def _shortlist(self, query_D: Float32s, k: int) -> Ints | None:
        """At least k distinct rows, ascending, or None if an exact scan is cheaper.

        The best m views contain the best products of those views, so m grows until they have k distinct products.
        """
        num_views = k + _SPARE_VIEWS
        while num_views <= _EXACT_ABOVE * self.stored.num_views:
            ef_search = max(self._ef_search, 2 * num_views)
            parameters = faiss.SearchParametersHNSW(efSearch=ef_search)  # type: ignore[attr-defined]
            _, views = self._graph.search(query_D[None, :], num_views, params=parameters)
            rows = np.unique(self.stored.rows_V[views[0][views[0] >= 0]])
            if len(rows) >= k:
                return rows
            num_views *= 2
        return None


def build_graph(vectors_VD: Float32s, folder: Path, *, links: int, ef_construction: int, threads: int) -> None:
    """Write the graph of vectors; with one thread, equal vectors give equal bytes."""
    faiss.omp_set_num_threads(threads)
    graph = faiss.IndexHNSWFlat(vectors_VD.shape[1], links, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = ef_construction
    graph.add(np.ascontiguousarray(vectors_VD))
    faiss.omp_set_num_threads(1)
    faiss.write_index(graph, str(folder / _GRAPH_FILE))


def _empty_hits(num_queries: int, k: int) -> VectorHits:
    return VectorHits(
        rows_Qk=np.full((num_queries, k), -1, np.int64),
        scores_Qk=np.full((num_queries, k), np.nan, np.float32),
        views_Qk=np.full((num_queries, k), -1, np.int32),
    )


def _write_hits(hits: VectorHits, q: int, stored: StoredVectors, query_D: Float32s, rows: Ints) -> None:
    """Write the rows of query q, best first, with their exact scores and best views."""
    hits.rows_Qk[q, : len(rows)] = rows
    hits.scores_Qk[q, : len(rows)], hits.views_Qk[q, : len(rows)] = stored.score_rows(query_D, rows)
