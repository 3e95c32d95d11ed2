"""What the ingress itself reads of a release: the query encoders, how products look, and the fusion unless others fuse.

In the fused topology also the three stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from intarsia.catalog.columns import open_columns
from intarsia.catalog.documents import Documents
from intarsia.engine.config import EngineConfig
from intarsia.engine.encode import QueryEncoders
from intarsia.engine.fuse import open_encoded_indexes, open_fuse
from intarsia.engine.search import SearchEngine, open_query_encoders
from intarsia.fusion.protocol import Fuser
from intarsia.ids import ProductId, ReleaseId, RequestId
from intarsia.index.filters import FilterIndex
from intarsia.records.query import Query
from intarsia.release.manifest import Manifest
from serve_apps.settings import ServingConfig

_WARM_QUERIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressRelease:
    """The ingress's part of one release; `product_ids` are by row.

    `engine` is there in the fused topology only, `fuser` where this process fuses.
    """

    manifest: Manifest
    encoders: QueryEncoders
    documents: Documents
    filters: FilterIndex
    product_ids: Sequence[ProductId]
    rank_depth: int
    engine: SearchEngine | None
    fuser: Fuser | None

    @property
    def release_id(self) -> ReleaseId:
        """The release."""
        return self.manifest.id


def release_loader(config: ServingConfig) -> Callable[[Path, Manifest], IngressRelease]:
    """How the ingress of a graph opens a release."""
    if config.topology == "fused":
        return _open_with_stages
    return partial(_open_alone, with_fuser=config.replicas.fuser == 0)


def open_fuser(folder: Path, manifest: Manifest) -> Fuser:
    """The second stage of a release, in whichever process fuses apart from the retriever."""
    return open_fuse(folder / "fusion_spec", open_encoded_indexes(folder / "indexes"))


def real_queries(documents: Documents) -> list[tuple[int, Query]]:
    """A few rows and their titles as queries, to warm what is opened."""
    rows = range(0, documents.num_rows, max(documents.num_rows // _WARM_QUERIES, 1))[:_WARM_QUERIES]
    now = datetime.now(UTC)
    return [
        (row, Query(request_id=RequestId(f"warm-{row}"), text=documents.get([row])[0].title, asked_at=now))
        for row in rows
    ]


def _open_with_stages(folder: Path, manifest: Manifest) -> IngressRelease:
    engine = SearchEngine.open(folder, release_id=manifest.id)
    engine.search([query for _, query in real_queries(engine.documents)])
    return IngressRelease(
        manifest=manifest,
        encoders=engine.encoders,
        documents=engine.documents,
        filters=engine.retrieve.filters,
        product_ids=engine.columns.product_ids,
        rank_depth=engine.rank.rank_depth,
        engine=engine,
        fuser=engine.fuser,
    )


def _open_alone(folder: Path, manifest: Manifest, *, with_fuser: bool) -> IngressRelease:
    indexes = folder / "indexes"
    columns = open_columns(indexes / "columns")
    front = IngressRelease(
        manifest=manifest,
        encoders=open_query_encoders(folder / "query_encoders", indexes=indexes),
        documents=Documents.open(indexes),
        filters=FilterIndex(columns),
        product_ids=columns.product_ids,
        rank_depth=EngineConfig.open(folder / "fusion_spec").rank_depth,
        engine=None,
        fuser=open_fuser(folder, manifest) if with_fuser else None,
    )
    for _, query in real_queries(front.documents):
        front.encoders.encode(query)
    return front
