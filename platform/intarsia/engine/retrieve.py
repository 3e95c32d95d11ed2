"""The first stage: from an encoded query to its candidates.

Four retrievers return candidates: BM25 over the words, text vector to text vectors, image vector to image vectors,
and text vector to image vectors (`aligned`). A product matches a query if the filters allow it and at least one
retriever accepts it: a BM25 score above zero, or a cosine of at least the floor of that retriever. A match depends on
the product and the query only, so the count of a facet value equals the total after filtering by that value.

Letters: N products, C candidates, R retrievers, k shortlist, V vectors, D width.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intarsia.engine.config import EngineConfig
from intarsia.errors import ArtifactError, ReleaseMismatch
from intarsia.ids import ReleaseId
from intarsia.index.bm25 import Bm25Index
from intarsia.index.filters import FilterIndex
from intarsia.index.top_k import top_k
from intarsia.index.vector_files import open_vector_index
from intarsia.index.vector_index import VectorIndex
from intarsia.logs import log_warning
from intarsia.maths.arrays import Bools, Float32s, Ints
from intarsia.maths.unit_vectors import direction_of
from intarsia.names import ENCODED_MODALITIES, RETRIEVERS, VECTOR_RETRIEVERS
from intarsia.records.candidates import Candidates
from intarsia.records.product_columns import ProductColumns
from intarsia.records.query import EncodedQuery, QueryVector

# their best view is the image that a hit is shown with; with a query image, that of the retriever `image`
_VIEW_RETRIEVERS = ("image", "aligned")

NOTHING_TO_SEARCH_BY = "retriever: nothing to search by"
"""Degraded entry of a query without words whose seed products have no vectors: its page is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _RetrieverResult:
    """The result of one retriever for one query.

    Attributes:
        shortlist_k: rows, best first.
        matches_N: which products match.
        score: rows [C] -> scores float32 [C], and the best view int32 [C] or None.
    """

    shortlist_k: Ints
    matches_N: Bools
    score: Callable[[Ints], tuple[Float32s, NDArray[np.int32] | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveStage:
    """The first stage, opened from one `indexes` artefact; `vectors` has a vector index per vector retriever."""

    release_id: ReleaseId
    config: EngineConfig
    columns: ProductColumns
    filters: FilterIndex
    bm25: Bm25Index
    vectors: Mapping[str, VectorIndex]

    @classmethod
    def open(
        cls, indexes: Path, columns: ProductColumns, *, config: EngineConfig, release_id: ReleaseId
    ) -> RetrieveStage:
        """Open the indexes (memory-mapped); `columns` are those of the same artefact."""
        return cls(
            release_id=release_id,
            config=config,
            columns=columns,
            filters=FilterIndex(columns),
            bm25=Bm25Index.open(indexes / "bm25"),
            vectors={name: open_vector_index(indexes / name) for name in stored_spaces(indexes)},
        )

    @property
    def retrievers(self) -> tuple[str, ...]:
        """The retrievers that this catalog has, in the order of RETRIEVERS."""
        return tuple(name for name in RETRIEVERS if name == "bm25" or name in self.vectors)

    def retrieve(
        self, queries: Sequence[EncodedQuery], *, among: Sequence[NDArray[np.int64] | None] | None = None
    ) -> list[Candidates]:
        """Retrieve the candidates of each query, and score each candidate by every retriever.

        Args:
            queries: with their vectors. Seed products stand in for the vectors of parts that a query does not have.
            among: per query the rows that may be candidates; None: all.

        Raises:
            ReleaseMismatch: a query vector is of another space than the stored vectors.
            DataError: a facet of an unknown name, or a seed product that the catalog does not have.
            RuntimeError: every retriever of a query failed. If some fail, `degraded` names them and the others answer.
        """
        rows = among if among is not None else [None] * len(queries)
        return [self._retrieve_one(self._with_seed_vectors(q), only) for q, only in zip(queries, rows, strict=True)]

    def _retrieve_one(self, encoded: EncodedQuery, among: Ints | None) -> Candidates:
        allowed_N = self._allowed(encoded, among)
        results, failed = self._retrieve_each(encoded, allowed_N)
        shortlists = [result.shortlist_k for result in results.values()]
        rows_C = np.unique(np.concatenate([*shortlists, np.empty(0, np.int64)]))
        retrievers = self.retrievers
        scores_CR = np.full((len(rows_C), len(retrievers)), np.nan, np.float32)
        ranks_CR = np.zeros((len(rows_C), len(retrievers)), np.int32)
        views_C = np.full(len(rows_C), -1, np.int32)
        matches_N = np.zeros(self.columns.num_rows, np.bool_)
        for r, name in enumerate(retrievers):
            if (result := results.get(name)) is None:
                continue
            scores_CR[:, r], best_views = result.score(rows_C)
            ranks_CR[np.searchsorted(rows_C, result.shortlist_k), r] = np.arange(1, len(result.shortlist_k) + 1)
            if name in _VIEW_RETRIEVERS and best_views is not None and (name == "image" or "image" not in results):
                views_C = best_views
            matches_N |= result.matches_N
        matches_N = matches_N if allowed_N is None else matches_N & allowed_N
        facets = encoded.query.facets
        return Candidates(
            release_id=self.release_id,
            rows_C=rows_C,
            retrievers=retrievers,
            scores_CR=scores_CR,
            ranks_CR=ranks_CR,
            views_C=views_C,
            num_matches=int(np.count_nonzero(matches_N)),
            facets=self.filters.facets(matches_N, facets) if facets else {},
            query_vectors=encoded.vectors,
            degraded=failed,
        )

    def _retrieve_each(
        self, encoded: EncodedQuery, allowed_N: Bools | None
    ) -> tuple[dict[str, _RetrieverResult], tuple[str, ...]]:
        """Run each retriever that the query has a part for; also returns the degraded entries."""
        calls: dict[str, Callable[[], _RetrieverResult]] = {}
        if encoded.query.text:
            calls["bm25"] = partial(self._by_words, encoded.query.text, allowed_N)
        for name, vector in encoded.vectors.items():
            self._check_space(name, vector)
            calls[name] = partial(self._by_vector, name, vector, allowed_N)
        if not calls:
            return {}, (NOTHING_TO_SEARCH_BY,)
        results: dict[str, _RetrieverResult] = {}
        failed: list[str] = []
        for name, call in calls.items():
            try:
                results[name] = call()
            except (RuntimeError, OSError, MemoryError) as error:  # of FAISS or the machine: the others still answer
                log_warning("retriever_failed", retriever=name, error=type(error).__name__)
                failed.append(f"{name}: failed")
        if failed and not results:
            raise RuntimeError(f"every retriever failed: {', '.join(failed)}")
        return results, tuple(failed)

    def _by_words(self, text: str, allowed_N: Bools | None) -> _RetrieverResult:
        scores_N = self.bm25.scores(text)
        matches_N = scores_N > 0
        reachable_N = matches_N if allowed_N is None else matches_N & allowed_N
        return _RetrieverResult(
            shortlist_k=top_k(scores_N, self.config.depth, reachable_N),
            matches_N=matches_N,
            score=lambda rows_C: (scores_N[rows_C], None),
        )

    def _by_vector(self, name: str, vector: QueryVector, allowed_N: Bools | None) -> _RetrieverResult:
        index = self.vectors[name]
        floor = self.config.floor_of(name)
        nearest = index.search(vector.values_D[np.newaxis], self.config.depth, allowed_N)
        rows_k, scores_k = nearest.rows_Qk[0], nearest.scores_Qk[0]
        return _RetrieverResult(
            shortlist_k=rows_k[(rows_k >= 0) & (scores_k >= floor)],
            matches_N=index.matches(vector.values_D, floor),
            score=lambda rows_C: index.score_rows(vector.values_D, rows_C),
        )

    def _allowed(self, encoded: EncodedQuery, among: Ints | None) -> Bools | None:
        query = encoded.query
        exclude = (*query.filters.exclude, *query.seed_product_ids)
        allowed_N = self.filters.allowed(dataclasses.replace(query.filters, exclude=exclude))
        if among is None:
            return allowed_N
        among_N = np.zeros(self.columns.num_rows, np.bool_)
        among_N[among] = True
        return among_N if allowed_N is None else among_N & allowed_N

    def _with_seed_vectors(self, encoded: EncodedQuery) -> EncodedQuery:
        """Add the unit mean of the seed products' vectors for each part that the query does not have."""
        seeds = encoded.query.seed_product_ids
        if not seeds:
            return encoded
        rows = [self.filters.row_of(seed) for seed in seeds]
        vectors = dict(encoded.vectors)
        for name, index in self.vectors.items():
            if name in vectors:
                continue
            mean_D = _unit_mean(np.concatenate([index.vectors_of(row) for row in rows]))
            if mean_D is not None:
                vectors[name] = QueryVector(space_id=index.space_id, values_D=mean_D)
        return dataclasses.replace(encoded, vectors=vectors)

    def _check_space(self, name: str, vector: QueryVector) -> None:
        stored = self.vectors[name].space_id if name in self.vectors else None
        if vector.space_id != stored:
            raise ReleaseMismatch(
                f"the query's {name} vector is of space {vector.space_id}, the index holds {stored}. "
                "Fix: repeat the request"
            )


def stored_spaces(indexes: Path) -> dict[str, str]:
    """Return the vector spaces of an `indexes` artefact, by retriever.

    Raises:
        ArtifactError: the manifest is missing or does not name them.
    """
    path = indexes / "manifest.json"
    try:
        space_ids = json.loads(path.read_text(encoding="utf-8"))["space_ids"]
        names = [name for name in VECTOR_RETRIEVERS if name in space_ids or name in ENCODED_MODALITIES]
        return {name: str(space_ids[name]) for name in names}
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist. Fix: run build_indexes") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} does not name the vector spaces ({error!r}). Fix: run build_indexes again"
        ) from None


def _unit_mean(vectors_VD: Float32s) -> Float32s | None:
    """None without vectors, or if they cancel out."""
    if not len(vectors_VD):
        return None
    mean_D = vectors_VD.mean(axis=0, dtype=np.float64)
    return direction_of(mean_D)
