"""One request from query to page: each step within its budget, with a named fallback for each that is late or down.

| step | late or down |
|---|---|
| text encoder | the words are searched without their vector |
| image encoder | the words alone; without words 503 |
| one retriever | the others (the retriever stage sees to it) |
| retriever | 503 |
| fuser | reciprocal ranks |
| ranker | the fused order |
| another release | 503; it goes on being opened |
| a free thread | 503 |

A page says which fallbacks it took (`degraded`). A stage that holds another release makes the ingress ask once more, with the other one.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from intarsia.engine.rank import Ranked, in_fused_order
from intarsia.engine.search import page_of
from intarsia.errors import DataError, ReleaseMismatch
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.spec import FusionSpec
from intarsia.ids import ReleaseId
from intarsia.image import ImageError
from intarsia.logs import log_warning
from intarsia.records.candidates import Candidates
from intarsia.records.page import Page
from intarsia.records.query import EncodedQuery, Query
from serve_apps.http.errors import ApiError
from serve_apps.service.deadlines import Step, StepUnavailable, Threads, run_steps
from serve_apps.service.ingress_release import IngressRelease
from serve_apps.service.release_cache import ReleaseCache
from serve_apps.service.served_log import ServedLog
from serve_apps.service.stages import Stages, without_image
from serve_apps.settings import Budgets

_RECIPROCAL_RANK = FusionSpec(kind="rrf")


@dataclass(frozen=True, slots=True)
class Answered:
    """A page with the front of its release (which knows the documents), and how long each step took."""

    page: Page
    front: IngressRelease
    took_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestState:
    """What is known of one request on its way."""

    encoded: EncodedQuery
    found: Candidates | None = None
    ranked: Ranked | None = None
    degraded: tuple[str, ...] = ()

    @property
    def candidates(self) -> Candidates:
        """Those of the retriever, then those of the fuser."""
        assert self.found is not None, "the retriever comes first, and nothing stands in for it"
        return self.found


class SearchService:
    """Answers queries with the stages it is given; `num_threads` of this process compute."""

    def __init__(
        self,
        *,
        held: ReleaseCache[IngressRelease],
        stages: Stages,
        budgets: Budgets,
        num_threads: int,
        served: ServedLog,
    ) -> None:
        self._held, self._stages, self._budgets, self._served = held, stages, budgets, served
        self._threads = Threads(ThreadPoolExecutor(num_threads, thread_name_prefix="steps"), budgets.thread_ms)
        # a look may open a whole release: who else must look waits without a thread
        self._looking = ThreadPoolExecutor(1, thread_name_prefix="look")

    async def answer(self, query: Query) -> Answered:
        """The page of a query.

        Raises:
            Refusal: 422 for a picture or filter that cannot be used, 503 when nothing can answer.
        """
        release_id = self._held.current
        try:
            return await self._answer(query, release_id)
        except ReleaseMismatch:
            other = await self._other_than(release_id, query)
        try:
            return await self._answer(query, other)
        except ReleaseMismatch as error:
            log_warning("release_mismatch", request_id=query.request_id, error=str(error))
            raise ApiError(503, "a release is being swapped; ask again") from None

    async def _other_than(self, release_id: ReleaseId, query: Query) -> ReleaseId:
        look = asyncio.get_running_loop().run_in_executor(self._looking, self._held.alternative_to, release_id)
        try:
            async with asyncio.timeout(self._budgets.release_ms / 1_000):
                return await look
        except TimeoutError:
            why = f"release: deadline {self._budgets.release_ms} ms"
        except Exception as error:
            log_warning("step_failed", step="release", request_id=query.request_id, error=type(error).__name__)
            why = "release: failed"
        raise ApiError(503, f"a release is being swapped; ask again ({why})")

    async def _answer(self, query: Query, release_id: ReleaseId) -> Answered:
        front = self._held.of(release_id)
        start = RequestState(encoded=EncodedQuery(query=query, vectors={}))
        took_ms: dict[str, float] = {}
        try:
            end = await run_steps(self._steps(front, query), start, self._threads, took_ms)
        except StepUnavailable as lost:
            log_warning("search_lost", request_id=query.request_id, release_id=release_id, why=str(lost))
            raise ApiError(503, f"the search is not available: {lost}") from None
        except DataError as error:
            raise ApiError(
                422, f"{error.field}: found {error.found}; allowed: {error.allowed}", field=error.field
            ) from None
        assert end.ranked is not None
        page = page_of(query, end.ranked)
        degraded = tuple(dict.fromkeys((*end.degraded, *page.degraded)))
        page = dataclasses.replace(page, degraded=degraded)
        self._served.note(query=query, ranked=end.ranked, page=page, product_ids=front.product_ids)
        if degraded:
            log_warning("degraded", request_id=query.request_id, release_id=release_id, steps="; ".join(degraded))
        return Answered(page, front, took_ms)

    def _steps(self, front: IngressRelease, query: Query) -> list[Step[RequestState]]:
        stages, budgets, release_id = self._stages, self._budgets, front.release_id
        retriever: Step[RequestState] = Step(
            name="retriever",
            budget_ms=budgets.retriever_ms,
            call=stages.retrieve,
            asks=lambda so_far: (release_id, _asked(so_far)),
            takes=_with_found,
            instead=_lost,
        )
        fuser: Step[RequestState] = Step(
            name="fuser",
            budget_ms=budgets.fuser_ms,
            call=stages.fuse,
            asks=lambda so_far: (release_id, so_far.candidates),
            takes=lambda so_far, fused: dataclasses.replace(so_far, found=fused),
            instead=_reciprocal_ranks,
        )
        ranker: Step[RequestState] = Step(
            name="ranker",
            budget_ms=budgets.ranker_ms + (budgets.explain_ms if query.explain else 0),
            call=stages.rank,
            asks=lambda so_far: (release_id, so_far.encoded, so_far.candidates),
            takes=lambda so_far, ranked: dataclasses.replace(so_far, ranked=ranked),
            instead=partial(_fused_order, front.rank_depth),
        )
        return [*self._encoders(front, query), retriever, fuser, ranker]

    def _encoders(self, front: IngressRelease, query: Query) -> Iterator[Step[RequestState]]:
        parts: list[tuple[str, int, Query]] = []
        if query.text:
            parts.append(("text encoder", self._budgets.text_encoder_ms, dataclasses.replace(query, image=None)))
        if query.image:
            parts.append(("image encoder", self._budgets.image_encoder_ms, dataclasses.replace(query, text=None)))
        for name, budget_ms, part in parts:
            yield Step(
                name=name,
                budget_ms=budget_ms,
                call=partial(_encode, front, part),
                asks=lambda so_far: (),
                takes=_with_vectors,
                instead=_note,
            )


def _encode(front: IngressRelease, part: Query) -> EncodedQuery:
    try:
        return front.encoders.encode(part)
    except ImageError as error:
        raise ApiError(422, f"image: {error}", field="image") from None


def _with_vectors(so_far: RequestState, part: EncodedQuery) -> RequestState:
    vectors = {**so_far.encoded.vectors, **part.vectors}
    return dataclasses.replace(so_far, encoded=dataclasses.replace(so_far.encoded, vectors=vectors))


def _asked(so_far: RequestState) -> EncodedQuery:
    """What the retriever is asked.

    Raises:
        StepLost: a picture was all there was to search by, and has no vector.
    """
    query = so_far.encoded.query
    if not (query.text or query.seed_product_ids or so_far.encoded.vectors):
        raise StepUnavailable("; ".join(so_far.degraded))
    return without_image(so_far.encoded)


def _with_found(so_far: RequestState, found: Candidates) -> RequestState:
    encoded = dataclasses.replace(without_image(so_far.encoded), vectors=found.query_vectors)  # those of seeds too
    return dataclasses.replace(so_far, encoded=encoded, found=found)


def _note(so_far: RequestState, why: str) -> RequestState:
    return dataclasses.replace(so_far, degraded=(*so_far.degraded, why))


def _lost(so_far: RequestState, why: str) -> RequestState:
    raise StepUnavailable(why)


def _reciprocal_ranks(so_far: RequestState, why: str) -> RequestState:
    fused = SpecFuser(_RECIPROCAL_RANK).fuse(so_far.candidates)
    return dataclasses.replace(_note(so_far, why), found=fused)


def _fused_order(rank_depth: int, so_far: RequestState, why: str) -> RequestState:
    ranked = in_fused_order(so_far.candidates, rank_depth, degraded=(why,))
    return dataclasses.replace(so_far, ranked=ranked)
