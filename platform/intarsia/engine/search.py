"""All three stages of a release: opening them, searching with them, and replaying what they served.

Serving with deadlines calls the same stages one by one; see `serve_apps/service/search_service.py`.

Letters: N products, D, E widths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from intarsia.catalog.columns import open_columns
from intarsia.catalog.documents import Documents
from intarsia.encoders.open import Precision
from intarsia.engine.config import EngineConfig
from intarsia.engine.encode import QueryEncoders
from intarsia.engine.rank import Ranked, RankStage
from intarsia.engine.retrieve import RetrieveStage, stored_spaces
from intarsia.errors import ReleaseMismatch
from intarsia.features.assemble import Assembler
from intarsia.features.default_set import FEATURES
from intarsia.features.stats import ProductStats
from intarsia.fusion.ensemble.cross_fit import CrossFitFuser, open_cross_fit
from intarsia.fusion.method import read_fusion_header
from intarsia.fusion.protocol import Fuser, ProductVectors
from intarsia.fusion.registry import FUSION_METHODS, open_fuser
from intarsia.ids import ReleaseId, SpaceId
from intarsia.index.vector_files import open_vector_index
from intarsia.index.vector_index import VectorIndex
from intarsia.names import ENCODED_MODALITIES
from intarsia.ranking.lightgbm_ranker import LightGbmRanker
from intarsia.records.page import Page
from intarsia.records.product_columns import ProductColumns
from intarsia.records.query import EncodedQuery, Query
from intarsia.records.served import ServedRequest

PARTS = ("indexes", "query_encoders", "product_stats", "fusion_spec", "ranker")
"""The folders of a release, each a copy of the lake entry of that name."""

VectorIndexes = Mapping[str, VectorIndex]
"""Vector indexes by retriever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchEngine:
    """One release, opened for search in this process.

    Example:
        engine = open_release("lake/demo")
        [page] = engine.search([Query(text="red sneakers", limit=3)])
    """

    release_id: ReleaseId
    encoders: QueryEncoders
    retrieve: RetrieveStage
    fuser: Fuser
    rank: RankStage
    documents: Documents

    @classmethod
    def open(cls, folder: Path, *, release_id: ReleaseId) -> SearchEngine:
        """Open the parts of a release folder; `intarsia.release.bundle.open_bundle` checks the digests first."""
        indexes = folder / "indexes"
        config = EngineConfig.open(folder / "fusion_spec")
        retrieve = open_retrieve(indexes, config=config, release_id=release_id)
        return cls(
            release_id=release_id,
            encoders=open_query_encoders(folder / "query_encoders", indexes=indexes),
            retrieve=retrieve,
            fuser=open_fuse(folder / "fusion_spec", retrieve.vectors),
            rank=open_rank(folder, retrieve),
            documents=Documents.open(indexes),
        )

    @property
    def columns(self) -> ProductColumns:
        """The catalog by row number."""
        return self.retrieve.columns

    def search(self, queries: Sequence[Query]) -> list[Page]:
        """Return the page of each query."""
        return [ranked.page(query) for query, ranked in zip(queries, self.rank_queries(queries), strict=True)]

    def rank_queries(self, queries: Sequence[Query]) -> list[Ranked]:
        """Return the whole final order of each query."""
        return self.rank_encoded([self.encoders.encode(query) for query in queries])

    def rank_encoded(self, queries: Sequence[EncodedQuery]) -> list[Ranked]:
        """Retrieve, fuse and rank queries whose vectors are known."""
        candidates = [self.fuser.fuse(retrieved) for retrieved in self.retrieve.retrieve(queries)]
        return self.rank.rank([encoded.query for encoded in queries], candidates)

    def replay(self, served: ServedRequest) -> bytes:
        """Compute the feature matrix of a served request again and return its digest.

        The digest equals `served.digest` if nothing has changed; compare only records that are `is_replayable`, on
        one kind of processor: NumPy chooses its instructions by the machine.

        Raises:
            ReleaseMismatch: another release served the request, or its vectors are of another space.
        """
        if served.release_id != self.release_id:
            raise ReleaseMismatch(
                f"request {served.request_id} was served by release {served.release_id}, this is {self.release_id}. "
                "Fix: open the release that served it"
            )
        query = replace(served.query, facets=(), explain=False)  # neither changes a feature, and both take time
        return self.rank_encoded([EncodedQuery(query=query, vectors=served.vectors)])[0].digest


def open_query_encoders(folder: Path, *, indexes: Path, precision: Precision = "int8") -> QueryEncoders:
    """Open the query encoders.

    Raises:
        ReleaseMismatch: the index holds vectors of another space.
    """
    encoders = QueryEncoders.open(folder, precision=precision)
    encoders.check_spaces({name: SpaceId(space) for name, space in stored_spaces(indexes).items()})
    return encoders


def open_retrieve(indexes: Path, *, config: EngineConfig, release_id: ReleaseId) -> RetrieveStage:
    """Open the first stage."""
    return RetrieveStage.open(indexes, open_columns(indexes / "columns"), config=config, release_id=release_id)


def open_fuse(fusion_spec: Path, indexes: VectorIndexes) -> Fuser:
    """Open the second stage; `indexes` are of the same release, and read only by methods that need product vectors."""
    return open_fuser(fusion_spec, _vectors_for(fusion_spec, indexes))


def open_fuse_crossed(fusion_spec: Path, indexes: VectorIndexes) -> CrossFitFuser:
    """Open the second stage with its out-of-fold copies, to train on the queries that it was fitted on."""
    return open_cross_fit(fusion_spec, _vectors_for(fusion_spec, indexes))


def open_encoded_indexes(indexes: Path) -> VectorIndexes:
    """Open the vector indexes that feature fusion reads (memory-mapped)."""
    return {name: open_vector_index(indexes / name) for name in ENCODED_MODALITIES}


def product_vectors(indexes: VectorIndexes) -> ProductVectors:
    """Return one text vector and one image vector per product: the unit mean of its stored vectors."""
    (text_ND, has_text_N), (image_NE, has_image_N) = (indexes[name].unit_means() for name in ENCODED_MODALITIES)
    return ProductVectors(text_ND=text_ND, image_NE=image_NE, has_N2=np.stack([has_text_N, has_image_N], axis=1))


def open_assembler(retrieve: RetrieveStage, product_stats: Path) -> Assembler:
    """Open the assembler, which builds candidate frames offline and online."""
    return Assembler(columns=retrieve.columns, stats=ProductStats.open(product_stats), vectors=retrieve.vectors)


def open_rank(folder: Path, retrieve: RetrieveStage) -> RankStage:
    """Open the third stage; it reads the same columns and vectors as the first."""
    return RankStage(
        release_id=retrieve.release_id,
        rank_depth=retrieve.config.rank_depth,
        features=FEATURES,
        assembler=open_assembler(retrieve, folder / "product_stats"),
        ranker=LightGbmRanker.open(folder / "ranker"),
    )


def _vectors_for(fusion_spec: Path, indexes: VectorIndexes) -> ProductVectors | None:
    method = FUSION_METHODS.get(read_fusion_header(fusion_spec)["kind"])
    return product_vectors(indexes) if method is not None and method.reads_vectors else None
