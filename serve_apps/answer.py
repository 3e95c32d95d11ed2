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

A page says which fallbacks it took (`degraded`). A stage that holds another release makes the ingress ask once more, with the other one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from intarsia.engine.rank import in_fused_order
from intarsia.engine.search import page_of
from intarsia.errors import DataError, ReleaseMismatch
from intarsia.fusion.fuser import open_fuser
from intarsia.fusion.spec import FusionSpec
from intarsia.ids import ReleaseId
from intarsia.image import ImageError
from intarsia.logs import log_warning
from intarsia.records.page import Page
from intarsia.records.query import EncodedQuery, Query, QueryVector
from serve_apps.front import Front
from serve_apps.held import Held
from serve_apps.refusals import Refusal
from serve_apps.settings import Budgets
from serve_apps.stages import Stages, Threads, without_picture

T = TypeVar("T")

_RECIPROCAL_RANK = FusionSpec(kind="rrf")


@dataclass(frozen=True, slots=True)
class Answered:
    """A page with the front of its release (which knows the documents), and how long each step took."""

    page: Page
    front: Front
    took_ms: Mapping[str, float]


class StepLost(Exception):
    """A step of a request was late or is down; the message is what the page says of it."""


class Answerer:
    """Answers queries with the stages it is given."""

    def __init__(self, *, held: Held[Front], stages: Stages, threads: Threads, budgets: Budgets) -> None:
        self._held, self._stages, self._threads, self._budgets = held, stages, threads, budgets
        self._looking = Threads(1)  # a look may open a whole release: who else must look waits without a thread

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
            raise Refusal(503, "a release is being swapped; ask again") from None

    async def _other_than(self, release_id: ReleaseId, query: Query) -> ReleaseId:
        look = self._looking.run(self._held.other_than, release_id)
        try:
            return await _Request(query=query, budgets=self._budgets).step("release", self._budgets.release_ms, look)
        except StepLost as lost:
            raise Refusal(503, f"a release is being swapped; ask again ({lost})") from None

    async def _answer(self, query: Query, release_id: ReleaseId) -> Answered:
        front = self._held.of(release_id)
        request = _Request(query=query, budgets=self._budgets)
        try:
            page = await self._steps(front, request)
        except StepLost as lost:
            raise Refusal(503, f"the search is not available: {lost}") from None
        except DataError as error:
            raise Refusal(
                422, f"{error.field}: found {error.found}; allowed: {error.allowed}", field=error.field
            ) from None
        degraded = tuple(dict.fromkeys((*request.degraded, *page.degraded)))
        if degraded:
            log_warning("degraded", request_id=query.request_id, release_id=release_id, steps="; ".join(degraded))
        return Answered(dataclasses.replace(page, degraded=degraded), front, request.took_ms)

    async def _steps(self, front: Front, request: _Request) -> Page:
        encoded = await self._encode(front, request)
        found = await request.step(
            "retriever", self._budgets.retriever_ms, self._stages.retrieve(front.release_id, encoded)
        )
        encoded = dataclasses.replace(encoded, vectors=found.query_vectors)  # those of seed products too
        try:
            fused = await request.step("fuser", self._budgets.fuser_ms, self._stages.fuse(front.release_id, found))
        except StepLost as lost:
            request.degraded.append(str(lost))
            fused = open_fuser(_RECIPROCAL_RANK).fuse(found)
        budget_ms = self._budgets.ranker_ms + (self._budgets.explain_ms if request.query.explain else 0)
        try:
            ranked = await request.step("ranker", budget_ms, self._stages.rank(front.release_id, encoded, fused))
        except StepLost as lost:
            ranked = in_fused_order(fused, front.rank_depth, degraded=(str(lost),))
        return page_of(request.query, ranked)

    async def _encode(self, front: Front, request: _Request) -> EncodedQuery:
        query = request.query
        parts: dict[str, Coroutine[Any, Any, EncodedQuery]] = {}
        if query.text:
            words = dataclasses.replace(query, image=None)
            parts["text encoder"] = self._threads.run(front.encoders.encode, words)
        if query.image:
            picture = dataclasses.replace(query, text=None)
            parts["image encoder"] = self._threads.run(front.encoders.encode, picture)
        budgets_ms = {"text encoder": self._budgets.text_encoder_ms, "image encoder": self._budgets.image_encoder_ms}
        steps = (request.step(name, budgets_ms[name], part) for name, part in parts.items())
        vectors: dict[str, QueryVector] = {}
        for outcome in await asyncio.gather(*steps, return_exceptions=True):
            if isinstance(outcome, ImageError):
                raise Refusal(422, f"image: {outcome}", field="image")
            if isinstance(outcome, StepLost):
                request.degraded.append(str(outcome))
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                vectors |= outcome.vectors
        if not (query.text or query.seed_product_ids or vectors):
            raise StepLost("; ".join(request.degraded))
        return without_picture(EncodedQuery(query=query, vectors=vectors))


@dataclass(slots=True)
class _Request:
    """What is noted about one request on its way."""

    query: Query
    budgets: Budgets
    degraded: list[str] = field(default_factory=list)
    took_ms: dict[str, float] = field(default_factory=dict)

    async def step(self, name: str, budget_ms: int, work: Coroutine[Any, Any, T]) -> T:
        """Await a step for at most its budget.

        Raises:
            StepLost: it was late, or failed with something else than what the caller of a stage must know.
        """
        start_s = time.perf_counter()
        if budget_ms == 0:
            work.close()
            raise StepLost(f"{name}: deadline 0 ms")
        try:
            async with asyncio.timeout(budget_ms / 1_000):
                return await work
        except TimeoutError:
            raise StepLost(f"{name}: deadline {budget_ms} ms") from None
        except (ReleaseMismatch, DataError, ImageError, Refusal):
            raise
        except Exception as error:
            log_warning("step_failed", step=name, request_id=self.query.request_id, error=type(error).__name__)
            raise StepLost(f"{name}: failed") from error
        finally:
            self.took_ms[name] = (time.perf_counter() - start_s) * 1_000
