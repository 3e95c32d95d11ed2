"""The three stages of one release, opened together: what a fused replica, a job and a benchmark call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from intarsia.catalog.columns import open_columns
from intarsia.catalog.documents import Documents
from intarsia.engine.config import EngineConfig
from intarsia.engine.encode import Precision, QueryEncoders
from intarsia.engine.fuse import open_fuse
from intarsia.engine.rank import Ranked, RankStage
from intarsia.engine.retrieve import RetrieveStage, spaces
from intarsia.features.assemble import Assembler
from intarsia.features.default_set import FEATURES
from intarsia.features.stats import ProductStats
from intarsia.fusion.protocol import Fuser
from intarsia.ids import ReleaseId, SpaceId
from intarsia.ranking.lightgbm_ranker import LightGbmRanker
from intarsia.records.page import Hit, Page
from intarsia.records.product_columns import ProductColumns
from intarsia.records.query import Query

PARTS = ("indexes", "query_encoders", "product_stats", "fusion_spec", "ranker")
"""The folders of a release, each a copy of the lake entry of that name."""


def open_query_encoders(folder: Path, *, indexes: Path, precision: Precision = "int8") -> QueryEncoders:
    """The query encoders, refused when the index holds vectors of another space."""
    encoders = QueryEncoders.open(folder, precision=precision)
    encoders.check_spaces({name: SpaceId(space) for name, space in spaces(indexes).items()})
    return encoders


def open_retrieve(indexes: Path, *, config: EngineConfig, release_id: ReleaseId) -> RetrieveStage:
    """The first stage."""
    return RetrieveStage.open(indexes, open_columns(indexes / "columns"), config=config, release_id=release_id)


def open_assembler(retrieve: RetrieveStage, product_stats: Path) -> Assembler:
    """What makes candidate frames, offline and online."""
    return Assembler(columns=retrieve.columns, stats=ProductStats.open(product_stats), vectors=retrieve.vectors)


def open_rank(folder: Path, retrieve: RetrieveStage) -> RankStage:
    """The third stage; it reads the same columns and vectors as the first."""
    return RankStage(
        release_id=retrieve.release_id,
        rank_depth=retrieve.config.rank_depth,
        features=FEATURES,
        assembler=open_assembler(retrieve, folder / "product_stats"),
        ranker=LightGbmRanker.open(folder / "ranker"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchEngine:
    """One release, ready to answer."""

    release_id: ReleaseId
    encoders: QueryEncoders
    retrieve: RetrieveStage
    fuser: Fuser
    rank: RankStage
    documents: Documents

    @classmethod
    def open(cls, folder: Path, *, release_id: ReleaseId) -> SearchEngine:
        """Open the parts of a release folder (`release.open_bundle` checks their digests first)."""
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
        """Answer queries, the whole way."""
        return [page_of(query, ranked) for query, ranked in zip(queries, self.rank_queries(queries), strict=True)]

    def rank_queries(self, queries: Sequence[Query]) -> list[Ranked]:
        """The whole final order of each query."""
        encoded = [self.encoders.encode(query) for query in queries]
        candidates = [self.fuser.fuse(each) for each in self.retrieve.retrieve(encoded)]
        # the ranker reads the vectors that retrieval used, seeds' ones too
        known = [replace(query, vectors=each.query_vectors) for query, each in zip(encoded, candidates, strict=True)]
        return self.rank.rank(known, candidates)


def page_of(query: Query, ranked: Ranked) -> Page:
    """The slice of a final order that a query asked for."""
    candidates = ranked.candidates
    assert candidates.fused_C is not None
    hits = []
    for place in range(query.offset, min(query.offset + query.limit, len(ranked.order_C))):
        at = int(ranked.order_C[place])
        ranks = {name: int(r) for name, r in zip(candidates.retrievers, candidates.ranks_CR[at], strict=True) if r > 0}
        view = int(candidates.views_C[at])
        hits.append(
            Hit(
                row=int(candidates.rows_C[at]),
                position=place + 1,
                score=float(ranked.scores_C[place]),
                fused=float(candidates.fused_C[at]),
                retrievers=ranks,
                image_number=view if view >= 0 else None,
                contributions=ranked.contributions.get(place),
            )
        )
    return Page(
        request_id=query.request_id,
        release_id=candidates.release_id,
        hits=tuple(hits),
        total=candidates.num_matches,
        reachable=len(ranked.order_C),
        facets=candidates.facets,
        degraded=(*candidates.degraded, *ranked.degraded),
    )
