"""The first stage: a query to its candidates, by words, by text vector, by picture, and by words that find pictures; and the match set.

A product matches when the filters allow it and at least one retriever says yes: BM25 above zero, or a cosine at or above that retriever's
floor. Whether a product matches depends on nothing but itself and the query, so a facet's count is the total one gets by filtering for it.

Letters: N products, C candidates, R retrievers, D width.
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
from intarsia.maths.unit_vectors import direction_of
from intarsia.names import ENCODED_MODALITIES, RETRIEVERS, VECTOR_RETRIEVERS
from intarsia.records.candidates import Candidates
from intarsia.records.product_columns import ProductColumns
from intarsia.records.query import EncodedQuery, QueryVector

SHOWS = ("image", "aligned")
"""Retrievers whose best view is a picture: the one a hit is shown with, the query's own picture first."""
NOTHING_ASKED = "retriever: nothing to search by"
"""Degraded entry of a query without words whose seed products have no vectors: its page is empty, and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opinion:
    """What one retriever says of one query: its shortlist best first, whom it matches, and how it scores given rows."""

    shortlist_k: NDArray[np.int64]
    matches_N: NDArray[np.bool_]
    score: Callable[[NDArray[np.int64]], tuple[NDArray[np.float32], NDArray[np.int32] | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveStage:
    """Everything retrieval reads, opened from one `indexes` artefact."""

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
        """Open the indexes of a release (memory-mapped); `columns` are those of the same artefact."""
        return cls(
            release_id=release_id,
            config=config,
            columns=columns,
            filters=FilterIndex(columns),
            bm25=Bm25Index.open(indexes / "bm25"),
            vectors={name: open_vector_index(indexes / name) for name in spaces(indexes)},
        )

    @property
    def retrievers(self) -> tuple[str, ...]:
        """Those of RETRIEVERS that this catalog has."""
        return tuple(name for name in RETRIEVERS if name == "bm25" or name in self.vectors)

    def retrieve(
        self, queries: Sequence[EncodedQuery], *, among: Sequence[NDArray[np.int64] | None] | None = None
    ) -> list[Candidates]:
        """The candidates of each query, scored by every retriever; `among` names the rows that may compete (None: all).

        Raises:
            ReleaseMismatch: a query vector is of another space than the stored vectors.
            DataError: a facet of an unknown name, or a seed product that the catalog does not have.
            RuntimeError: every retriever that was asked failed.
        """
        rows = among if among is not None else [None] * len(queries)
        return [self._retrieve_one(self._with_seed_vectors(q), only) for q, only in zip(queries, rows, strict=True)]

    def _retrieve_one(self, encoded: EncodedQuery, among: NDArray[np.int64] | None) -> Candidates:
        allowed_N = self._allowed(encoded, among)
        opinions, failed = self._opinions(encoded, allowed_N)
        shortlists = [opinion.shortlist_k for opinion in opinions.values()]
        rows_C = np.unique(np.concatenate([*shortlists, np.empty(0, np.int64)]))
        retrievers = self.retrievers
        scores_CR = np.full((len(rows_C), len(retrievers)), np.nan, np.float32)
        ranks_CR = np.zeros((len(rows_C), len(retrievers)), np.int32)
        views_C = np.full(len(rows_C), -1, np.int32)
        matches_N = np.zeros(self.columns.num_rows, np.bool_)
        for r, name in enumerate(retrievers):
            if (opinion := opinions.get(name)) is None:
                continue
            scores_CR[:, r], views = opinion.score(rows_C)
            ranks_CR[np.searchsorted(rows_C, opinion.shortlist_k), r] = np.arange(1, len(opinion.shortlist_k) + 1)
            if name in SHOWS and views is not None and (name == "image" or "image" not in opinions):
                views_C = views
            matches_N |= opinion.matches_N
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

    def _opinions(
        self, encoded: EncodedQuery, allowed_N: NDArray[np.bool_] | None
    ) -> tuple[dict[str, _Opinion], tuple[str, ...]]:
        asked: dict[str, Callable[[], _Opinion]] = {}
        if encoded.query.text:
            asked["bm25"] = partial(self._by_words, encoded.query.text, allowed_N)
        for name, vector in encoded.vectors.items():
            self._check_space(name, vector)
            asked[name] = partial(self._by_vector, name, vector, allowed_N)
        if not asked:
            return {}, (NOTHING_ASKED,)
        opinions: dict[str, _Opinion] = {}
        failed: list[str] = []
        for name, ask in asked.items():
            try:
                opinions[name] = ask()
            except (RuntimeError, OSError, MemoryError) as error:  # of FAISS or the machine: the others still answer
                log_warning("retriever_failed", retriever=name, error=type(error).__name__)
                failed.append(f"{name}: failed")
        if failed and not opinions:
            raise RuntimeError(f"every retriever failed: {', '.join(failed)}")
        return opinions, tuple(failed)

    def _by_words(self, text: str, allowed_N: NDArray[np.bool_] | None) -> _Opinion:
        scores_N = self.bm25.scores(text)
        matches_N = scores_N > 0
        reachable_N = matches_N if allowed_N is None else matches_N & allowed_N
        return _Opinion(
            shortlist_k=top_k(scores_N, self.config.depth, reachable_N),
            matches_N=matches_N,
            score=lambda rows_C: (scores_N[rows_C], None),
        )

    def _by_vector(self, name: str, vector: QueryVector, allowed_N: NDArray[np.bool_] | None) -> _Opinion:
        index = self.vectors[name]
        floor = self.config.floor_of(name)
        found = index.search(vector.values_D[np.newaxis], self.config.depth, allowed_N)
        rows_k, scores_k = found.rows_Qk[0], found.scores_Qk[0]
        return _Opinion(
            shortlist_k=rows_k[(rows_k >= 0) & (scores_k >= floor)],
            matches_N=index.matches(vector.values_D, floor),
            score=lambda rows_C: index.score_rows(vector.values_D, rows_C),
        )

    def _allowed(self, encoded: EncodedQuery, among: NDArray[np.int64] | None) -> NDArray[np.bool_] | None:
        query = encoded.query
        exclude = (*query.filters.exclude, *query.seed_product_ids)
        allowed_N = self.filters.allowed(dataclasses.replace(query.filters, exclude=exclude))
        if among is None:
            return allowed_N
        among_N = np.zeros(self.columns.num_rows, np.bool_)
        among_N[among] = True
        return among_N if allowed_N is None else among_N & allowed_N

    def _with_seed_vectors(self, encoded: EncodedQuery) -> EncodedQuery:
        """Vectors of the seed products (unit mean over seeds and views) stand in for parts that were not given."""
        seeds = encoded.query.seed_product_ids
        if not seeds:
            return encoded
        rows = [self.filters.row_of(seed) for seed in seeds]
        vectors = dict(encoded.vectors)
        for name, index in self.vectors.items():
            if (
                name not in vectors
                and (mean := _unit_mean(np.concatenate([index.vectors_of(row) for row in rows]))) is not None
            ):
                vectors[name] = QueryVector(space_id=index.space_id, values_D=mean)
        return dataclasses.replace(encoded, vectors=vectors)

    def _check_space(self, name: str, vector: QueryVector) -> None:
        stored = self.vectors[name].space_id if name in self.vectors else None
        if vector.space_id != stored:
            raise ReleaseMismatch(
                f"the query's {name} vector is of space {vector.space_id}, the index holds {stored}; ask again"
            )


def spaces(indexes: Path) -> dict[str, str]:
    """The vector spaces of an `indexes` artefact, by retriever.

    Raises:
        ArtifactError: its manifest is missing, or does not name them.
    """
    path = indexes / "manifest.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["space_ids"]
        return {name: str(found[name]) for name in VECTOR_RETRIEVERS if name in found or name in ENCODED_MODALITIES}
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist; run build_indexes") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} does not name the vector spaces ({error!r}); run build_indexes again") from None


def _unit_mean(vectors_VD: NDArray[np.float32]) -> NDArray[np.float32] | None:
    if not len(vectors_VD):
        return None
    mean_D = vectors_VD.mean(axis=0, dtype=np.float64)
    return direction_of(mean_D)
