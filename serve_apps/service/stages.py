"""The three stages as the ingress calls them: in its own process (fused) or in other deployments (composed).

Both run the same code of `intarsia.engine` on the same release. Only ids, scores and query vectors are sent between
processes; the image of a query and the documents stay in the ingress.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from intarsia.engine.rank import Ranked
from intarsia.engine.search import SearchEngine
from intarsia.errors import DataError, ReleaseMismatch
from intarsia.fusion.protocol import Fuser
from intarsia.ids import ReleaseId
from intarsia.records.candidates import Candidates
from intarsia.records.query import EncodedQuery, Query
from intarsia.records.served import IMAGE_NOT_STORED

_Fuse = Callable[[ReleaseId, Candidates], Candidates | Coroutine[Any, Any, Candidates]]


class Stages(Protocol):
    """Retrieve, fuse and rank for one query of one release.

    A stage of this process is a function; one of another process is a coroutine function. Each may raise
    ReleaseMismatch (the stage does not hold the release) or DataError (the query names something that the catalog
    does not have); any other error means that the stage is down.
    """

    def retrieve(self, release_id: ReleaseId, query: EncodedQuery) -> Candidates | Coroutine[Any, Any, Candidates]:
        """Return the candidates and the query vectors that were used."""
        ...

    def fuse(self, release_id: ReleaseId, candidates: Candidates) -> Candidates | Coroutine[Any, Any, Candidates]:
        """Return the candidates with a fused score."""
        ...

    def rank(self, release_id: ReleaseId, query: Query, candidates: Candidates) -> Ranked | Coroutine[Any, Any, Ranked]:
        """Return the final order."""
        ...

    async def releases(self) -> dict[str, ReleaseId]:
        """Return the current release of each stage that is a deployment, by stage."""
        ...


class FusedStages:
    """All stages in this process; `engine_of` returns the open engine of a release."""

    def __init__(self, engine_of: Callable[[ReleaseId], SearchEngine]) -> None:
        self._engine_of = engine_of

    def retrieve(self, release_id: ReleaseId, query: EncodedQuery) -> Candidates:
        return self._engine_of(release_id).retrieve.retrieve([query])[0]

    def fuse(self, release_id: ReleaseId, candidates: Candidates) -> Candidates:
        return self._engine_of(release_id).fuser.fuse(candidates)

    def rank(self, release_id: ReleaseId, query: Query, candidates: Candidates) -> Ranked:
        return self._engine_of(release_id).rank.rank([query], [candidates])[0]

    async def releases(self) -> dict[str, ReleaseId]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRejection:
    """Returned by a stage deployment instead of raising, so that nothing depends on how Ray transports exceptions.

    `field`, `found` and `allowed` are those of the DataError of a rejected query.
    """

    reason: Literal["release", "query"]
    message: str
    field: str = ""
    found: str = ""
    allowed: str = ""

    @classmethod
    def from_error(cls, error: ReleaseMismatch | DataError) -> StageRejection:
        """Convert the error of a stage."""
        if isinstance(error, DataError):
            return cls(
                reason="query", message=str(error), field=error.field, found=str(error.found), allowed=error.allowed
            )
        return cls(reason="release", message=str(error))

    def to_error(self) -> ReleaseMismatch | DataError:
        """Convert back, in the process that called the stage."""
        if self.reason == "release":
            return ReleaseMismatch(self.message)
        return DataError(
            table="query", field=self.field, found=self.found, allowed=self.allowed, fix="correct the request"
        )


class ComposedStages:
    """Stages in other deployments.

    Args:
        retriever: Serve deployment handle.
        ranker: Serve deployment handle.
        fuser: Serve deployment handle; None fuses in this process.
        fuser_of: returns the fuser of a release, for fusing in this process.
    """

    def __init__(
        self, *, retriever: Any, ranker: Any, fuser: Any | None, fuser_of: Callable[[ReleaseId], Fuser | None]
    ) -> None:
        self._retriever, self._fuser, self._ranker, self._fuser_of = retriever, fuser, ranker, fuser_of
        self.fuse: _Fuse = self._fuse_here if fuser is None else self._fuse_remotely

    async def retrieve(self, release_id: ReleaseId, query: EncodedQuery) -> Candidates:
        candidates: Candidates = _raise_rejection(await self._retriever.retrieve.remote(release_id, query))
        return candidates

    def _fuse_here(self, release_id: ReleaseId, candidates: Candidates) -> Candidates:
        fuser = self._fuser_of(release_id)
        assert fuser is not None, "without a fuser deployment the ingress opens the fuser"
        return fuser.fuse(candidates)

    async def _fuse_remotely(self, release_id: ReleaseId, candidates: Candidates) -> Candidates:
        assert self._fuser is not None
        fused: Candidates = _raise_rejection(await self._fuser.fuse.remote(release_id, candidates))
        return fused

    async def rank(self, release_id: ReleaseId, query: Query, candidates: Candidates) -> Ranked:
        ranked: Ranked = _raise_rejection(await self._ranker.rank.remote(release_id, query, candidates))
        return ranked

    async def releases(self) -> dict[str, ReleaseId]:
        handles = {"retriever": self._retriever, "fuser": self._fuser, "ranker": self._ranker}
        handles = {name: handle for name, handle in handles.items() if handle is not None}
        release_ids = await asyncio.gather(*(handle.release.remote() for handle in handles.values()))
        return dict(zip(handles, release_ids, strict=True))


def without_image(query: Query) -> Query:
    """Replace the image by a marker, once its vector is known: stages need no image, and logs must not keep it."""
    return query if query.image is None else replace(query, image=IMAGE_NOT_STORED)


def _raise_rejection(reply: Any) -> Any:
    if isinstance(reply, StageRejection):
        raise reply.to_error()
    return reply
