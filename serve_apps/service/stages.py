"""The three stages as the ingress calls them, in its own process or in deployments of their own: the same code on the same release.

Between processes travel ids, scores and query vectors; the query's picture stays where it arrived, and documents never leave the ingress.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from intarsia.engine.rank import Ranked
from intarsia.engine.search import SearchEngine
from intarsia.errors import DataError, ReleaseMismatch
from intarsia.fusion.protocol import Fuser
from intarsia.ids import ReleaseId
from intarsia.records.candidates import Candidates
from intarsia.records.query import EncodedQuery
from intarsia.records.served import IMAGE_NOT_STORED

_Fuse = Callable[[ReleaseId, Candidates], Candidates | Awaitable[Candidates]]


class Stages(Protocol):
    """What answers a query of one release.

    Each may raise ReleaseMismatch (the stage holds another release), DataError (the query asks for what the catalog does not have), or
    anything else, which means that the stage is down. A stage of this process is a function, one of another process a coroutine function.
    """

    def retrieve(self, release_id: ReleaseId, query: EncodedQuery) -> Candidates | Awaitable[Candidates]:
        """The candidates, and the query vectors that found them."""
        ...

    def fuse(self, release_id: ReleaseId, candidates: Candidates) -> Candidates | Awaitable[Candidates]:
        """The candidates with a fused score."""
        ...

    def rank(self, release_id: ReleaseId, query: EncodedQuery, candidates: Candidates) -> Ranked | Awaitable[Ranked]:
        """The final order."""
        ...

    async def releases(self) -> dict[str, ReleaseId]:
        """The current release of each stage that is a process of its own."""
        ...


class FusedStages:
    """All stages in this process; they compute, so the answerer calls them in a thread."""

    def __init__(self, engine_of: Callable[[ReleaseId], SearchEngine]) -> None:
        self._engine_of = engine_of

    def retrieve(self, release_id: ReleaseId, query: EncodedQuery) -> Candidates:
        """See `Stages`."""
        return self._engine_of(release_id).retrieve.retrieve([query])[0]

    def fuse(self, release_id: ReleaseId, candidates: Candidates) -> Candidates:
        """See `Stages`."""
        return self._engine_of(release_id).fuser.fuse(candidates)

    def rank(self, release_id: ReleaseId, query: EncodedQuery, candidates: Candidates) -> Ranked:
        """See `Stages`."""
        return self._engine_of(release_id).rank.rank([query], [candidates])[0]

    async def releases(self) -> dict[str, ReleaseId]:
        """See `Stages`: there is no stage apart from the ingress."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRejection:
    """A stage's answer when it cannot work on what it was sent; a value, so that nothing depends on how exceptions travel."""

    why: Literal["release", "query"]
    message: str
    field: str = ""
    found: str = ""
    allowed: str = ""

    @classmethod
    def of(cls, error: ReleaseMismatch | DataError) -> StageRejection:
        """What to send instead of raising."""
        if isinstance(error, DataError):
            return cls(
                why="query", message=str(error), field=error.field, found=str(error.found), allowed=error.allowed
            )
        return cls(why="release", message=str(error))

    def error(self) -> ReleaseMismatch | DataError:
        """What to raise where the answer arrives."""
        if self.why == "release":
            return ReleaseMismatch(self.message)
        return DataError(
            table="query", field=self.field, found=self.found, allowed=self.allowed, fix="correct the request"
        )


class ComposedStages:
    """Stages in deployments of their own: `retriever`, `ranker` and `fuser` are Serve deployment handles.

    Without a `fuser` the ingress fuses, by `fuser_of` the release.
    """

    def __init__(
        self, *, retriever: Any, ranker: Any, fuser: Any | None, fuser_of: Callable[[ReleaseId], Fuser | None]
    ) -> None:
        self._retriever, self._fuser, self._ranker, self._fuser_of = retriever, fuser, ranker, fuser_of
        self.fuse: _Fuse = self._fuse_here if fuser is None else self._fuse_there

    async def retrieve(self, release_id: ReleaseId, query: EncodedQuery) -> Candidates:
        """See `Stages`."""
        found: Candidates = _accepted(await self._retriever.retrieve.remote(release_id, query))
        return found

    def _fuse_here(self, release_id: ReleaseId, candidates: Candidates) -> Candidates:
        fuser = self._fuser_of(release_id)
        assert fuser is not None, "the front of a graph without a fuser opens one"
        return fuser.fuse(candidates)

    async def _fuse_there(self, release_id: ReleaseId, candidates: Candidates) -> Candidates:
        assert self._fuser is not None
        fused: Candidates = _accepted(await self._fuser.fuse.remote(release_id, candidates))
        return fused

    async def rank(self, release_id: ReleaseId, query: EncodedQuery, candidates: Candidates) -> Ranked:
        """See `Stages`."""
        ranked: Ranked = _accepted(await self._ranker.rank.remote(release_id, query, candidates))
        return ranked

    async def releases(self) -> dict[str, ReleaseId]:
        """See `Stages`."""
        handles = {"retriever": self._retriever, "fuser": self._fuser, "ranker": self._ranker}
        handles = {name: handle for name, handle in handles.items() if handle is not None}
        asked = await asyncio.gather(*(handle.release.remote() for handle in handles.values()))
        return dict(zip(handles, asked, strict=True))


def without_image(encoded: EncodedQuery) -> EncodedQuery:
    """The query once its vectors are known; in both topologies, so that both say the same."""
    if encoded.query.image is None:
        return encoded
    return dataclasses.replace(encoded, query=dataclasses.replace(encoded.query, image=IMAGE_NOT_STORED))


def _accepted(answer: Any) -> Any:
    if isinstance(answer, StageRejection):
        raise answer.error()
    return answer
