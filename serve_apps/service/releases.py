"""The cache of open releases of a process, and the parts of a release that the ingress opens.

Every deployment holds a `ReleaseCache`: the live release and the one before it, swapped inside the process while
requests are in flight. Each deployment needs other parts of a release (a ranker needs no documents), so it passes
its own `open_part`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from intarsia.catalog.columns import open_columns
from intarsia.catalog.documents import Documents
from intarsia.engine.config import EngineConfig
from intarsia.engine.encode import QueryEncoders
from intarsia.engine.search import SearchEngine, open_encoded_indexes, open_fuse, open_query_encoders
from intarsia.errors import ReleaseMismatch
from intarsia.fusion.protocol import Fuser
from intarsia.ids import ProductId, ReleaseId, RequestId
from intarsia.index.filters import FilterIndex
from intarsia.logs import log_event, log_warning
from intarsia.records.query import Query
from intarsia.release.bundle import verify
from intarsia.release.manifest import Manifest
from serve_apps.settings import LIVE, ServingConfig

PartT = TypeVar("PartT")
_MAX_OPEN = 2  # the live release, and the one that requests in flight are pinned to
_NUM_WARM_UP = 3


class ReleaseCache(Generic[PartT]):
    """The open parts of at most two releases; follows the live pointer in its own thread.

    Args:
        config: where the releases are, which one to serve, how often to read the pointer.
        open_part: opens the part of a release folder that this process needs, and warms it up.
    """

    def __init__(self, config: ServingConfig, open_part: Callable[[Path, Manifest], PartT]) -> None:
        self._config = config
        self._open_part = open_part
        self._lock = threading.Lock()
        self._parts: dict[ReleaseId, PartT] = {}  # oldest first
        self._open(self._wanted())
        self._closed = threading.Event()
        if config.refresh_s > 0 and config.release == LIVE:
            threading.Thread(target=self._follow, name="follow-live-release", daemon=True).start()

    @property
    def current(self) -> ReleaseId:
        """The release that new requests are pinned to."""
        return next(reversed(self._parts))

    def get(self, release_id: ReleaseId) -> PartT:
        """Return the part of a release.

        Raises:
            ReleaseMismatch: the release is not open in this process.
        """
        part = self._parts.get(release_id)
        if part is None:
            raise ReleaseMismatch(f"release {release_id} is not open here; open: {', '.join(self._parts)}")
        return part

    def alternative_to(self, release_id: ReleaseId) -> ReleaseId:
        """Return the release to try after another process rejected `release_id`: the newest other one after a refresh.

        Raises:
            ArtifactError: no release is live any more.
        """
        self.refresh()
        return next((other for other in reversed(self._parts) if other != release_id), release_id)

    def refresh(self) -> bool:
        """Open the live release if the pointer has moved; returns whether it was swapped in.

        A release that cannot be opened is logged and not served.

        Raises:
            ArtifactError: no release is live any more.
        """
        with self._lock:
            wanted = self._wanted()
            if wanted == self.current:
                return False
            try:
                self._open(wanted)
            except Exception as error:  # any part, or a library that reads its files, may raise any error
                log_warning("release_not_opened", release_id=wanted, stays=self.current, error=_describe(error))
                return False
        log_event("release_swapped", release_id=wanted)
        return True

    def close(self) -> None:
        """Stop following the pointer."""
        self._closed.set()

    def _follow(self) -> None:
        while not self._closed.wait(self._config.refresh_s):
            try:
                self.refresh()
            except Exception as error:  # the pointer's file may be readable again the next time
                log_warning("pointer_not_read", error=_describe(error))

    def _wanted(self) -> ReleaseId:
        return ReleaseId(self._config.release_folder().name)

    def _open(self, release_id: ReleaseId) -> None:
        folder = self._config.releases / release_id
        part = self._parts.get(release_id) or self._open_part(folder, verify(folder))
        others = [item for item in self._parts.items() if item[0] != release_id]
        self._parts = {**dict(others[-(_MAX_OPEN - 1) :]), release_id: part}


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressRelease:
    """The parts of one release that the ingress opens; `product_ids` are by row.

    `engine` (all three stages) is None in the composed topology; `fuser` is None if a separate deployment fuses.
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
        return self.manifest.id


def release_loader(config: ServingConfig) -> Callable[[Path, Manifest], IngressRelease]:
    """Return the `open_part` of an ingress."""
    if config.topology == "fused":
        return _open_with_engine
    return partial(_open_without_engine, with_fuser=config.replicas.fuser == 0)


def open_release_fuser(folder: Path, manifest: Manifest) -> Fuser:
    """Open the fuser of a release, with the product vectors that it reads; an `open_part`."""
    return open_fuse(folder / "fusion_spec", open_encoded_indexes(folder / "indexes"))


def warm_up_queries(documents: Documents) -> list[tuple[int, Query]]:
    """A few products by row, and a query with the title of each."""
    rows = range(0, documents.num_rows, max(documents.num_rows // _NUM_WARM_UP, 1))[:_NUM_WARM_UP]
    return [(row, Query(request_id=RequestId(f"warm-{row}"), text=documents.get([row])[0].title)) for row in rows]


def _open_with_engine(folder: Path, manifest: Manifest) -> IngressRelease:
    engine = SearchEngine.open(folder, release_id=manifest.id)
    engine.search([query for _, query in warm_up_queries(engine.documents)])
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


def _open_without_engine(folder: Path, manifest: Manifest, *, with_fuser: bool) -> IngressRelease:
    indexes = folder / "indexes"
    columns = open_columns(indexes / "columns")
    release = IngressRelease(
        manifest=manifest,
        encoders=open_query_encoders(folder / "query_encoders", indexes=indexes),
        documents=Documents.open(indexes),
        filters=FilterIndex(columns),
        product_ids=columns.product_ids,
        rank_depth=EngineConfig.open(folder / "fusion_spec").rank_depth,
        engine=None,
        fuser=open_release_fuser(folder, manifest) if with_fuser else None,
    )
    for _, query in warm_up_queries(release.documents):
        release.encoders.encode(query)
    return release


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
