"""Approximate vector search for large catalogs: a navigable small-world graph finds a shortlist, exact scores order it.

Letters: Q queries, D width, N products, V views, k depth, C candidates.

Source: Malkov and Yashunin, IEEE TPAMI 42(4), 2020. doi:10.1109/TPAMI.2018.2889473, as implemented by FAISS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from intarsia.ids import SpaceId
from intarsia.index.flat import FlatIndex, fill, nothing_found
from intarsia.index.order import top_k
from intarsia.index.protocol import Found
from intarsia.index.vectors import StoredVectors
from intarsia.records.candidates import best_first

_GRAPH = "graph.faiss"
_SPARE_VIEWS = 16  # asked for beyond k: near-ties that the graph's own arithmetic may have ordered otherwise
_EXACT_ABOVE = 0.1  # share of all views beyond which a shortlist costs more than the exact scan


class HnswIndex:
    """Unfiltered search walks the graph; filtered search, deep search, `score_rows` and `matches` are exact.

    A view the graph did not reach is not found: against the exact answer, recall@100 is at least 0.95 at the default settings on the
    clustered vectors of `benchmarks/vector_search.py` (tested). What is found is scored and ordered exactly.
    """

    def __init__(self, stored: StoredVectors, graph: Any, *, ef_search: int) -> None:
        self.stored = stored
        self._exact = FlatIndex(stored)
        self._graph = graph
        self._ef_search = ef_search

    @classmethod
    def open(cls, folder: Path, stored: StoredVectors, *, ef_search: int) -> HnswIndex:
        """The graph of a folder, memory-mapped; FAISS is set to one thread, since a replica serves one query at a time."""
        faiss.omp_set_num_threads(1)
        graph = faiss.read_index(str(folder / _GRAPH), faiss.IO_FLAG_MMAP_IFC)
        assert graph.ntotal == stored.num_views and graph.d == stored.dim
        return cls(stored, graph, ef_search=ef_search)

    @property
    def space_id(self) -> SpaceId:
        """The space of the stored vectors."""
        return self.stored.space_id

    def search(self, queries_QD: NDArray[np.float32], k: int, allowed_N: NDArray[np.bool_] | None) -> Found:
        """The k best products of each query; exact when `allowed_N` is given or k is a large share of the catalog."""
        if allowed_N is not None:
            return self._exact.search(queries_QD, k, allowed_N)
        found = nothing_found(len(queries_QD), k)
        for q, query_D in enumerate(queries_QD):
            fill(found, q, self.stored, query_D, self._best(query_D, k))
        return found

    def score_rows(
        self, query_D: NDArray[np.float32], rows_C: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """(score, best view) of given rows; (NaN, -1) for a row without vectors."""
        return self.stored.score_rows(query_D, rows_C)

    def matches(self, query_D: NDArray[np.float32], floor: float) -> NDArray[np.bool_]:
        """Bool [N]: the products whose score is `floor` or more, by an exact scan."""
        return self._exact.matches(query_D, floor)

    def vectors_of(self, row: int) -> NDArray[np.float32]:
        """float32 [V, D], a row's stored vectors in view order."""
        return self.stored.vectors_of(row)

    def unit_means(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The unit mean of each row's vectors, and which rows have one."""
        return self.stored.unit_means()

    def _best(self, query_D: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """The k best rows the graph finds, in exact order; of a small catalog or for a large k the k best rows."""
        rows = self._shortlist(query_D, k)
        if rows is None:
            return top_k(self.stored.scores(query_D), k)
        scores, _ = self.stored.score_rows(query_D, rows)
        return rows[best_first(scores, rows)][:k]

    def _shortlist(self, query_D: NDArray[np.float32], k: int) -> NDArray[np.int64] | None:
        """At least k distinct rows, ascending, or None when the exact scan is the better way.

        The best m views hold the best products of those views, so m grows until k distinct products are among them.
        """
        num_views = k + _SPARE_VIEWS
        while num_views <= _EXACT_ABOVE * self.stored.num_views:
            parameters = faiss.SearchParametersHNSW(efSearch=max(self._ef_search, 2 * num_views))  # type: ignore[attr-defined]
            _, views = self._graph.search(query_D[None, :], num_views, params=parameters)
            rows = np.unique(self.stored.rows_V[views[0][views[0] >= 0]])
            if len(rows) >= k:
                return rows
            num_views *= 2
        return None


def build_graph(
    vectors_VD: NDArray[np.float32], folder: Path, *, links: int, ef_construction: int, threads: int
) -> None:
    """Write the graph of some vectors; with one thread the same vectors give the same bytes."""
    faiss.omp_set_num_threads(threads)
    graph = faiss.IndexHNSWFlat(vectors_VD.shape[1], links, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = ef_construction
    graph.add(np.ascontiguousarray(vectors_VD))
    faiss.omp_set_num_threads(1)
    faiss.write_index(graph, str(folder / _GRAPH))
