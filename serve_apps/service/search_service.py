"""One search request, from the query to the page.

| step | when it is late, fails, or has a budget of 0 |
|---|---|
| text encoder | search by words without their vector |
| image encoder | search by words only; 503 for a query without words |
| retriever | 503 (one failed retriever of several: the others answer, see `engine/retrieve.py`) |
| fuser | reciprocal rank fusion |
| ranker | the fused order |
| opening another release | 503; opening continues |
| waiting for a worker thread | 503 |

`degraded` of a page names the steps that were replaced. If a stage holds another release than the ingress, the search
runs once more with the other release.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from intarsia.engine.rank import Ranked, in_fused_order
from intarsia.errors import DataError, ReleaseMismatch
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.spec import FusionSpec
from intarsia.ids import ReleaseId
from intarsia.image import ImageError
from intarsia.logs import log_warning
from intarsia.records.page import Page
from intarsia.records.query import EncodedQuery, Query, QueryVector
from serve_apps.http.errors import ApiError
from serve_apps.service.deadlines import StepThreads, StepUnavailable, ThreadsBusy, run_steps, step
from serve_apps.service.releases import IngressRelease, ReleaseCache
from serve_apps.service.served_log import ServedLog
from serve_apps.service.stages import Stages, without_image
from serve_apps.settings import Budgets

_FALLBACK_FUSION = FusionSpec(kind="rrf")


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A page, the release that answered (it holds the documents of the hits), and the duration of each step in ms."""

    page: Page
    release: IngressRelease
    took_ms: Mapping[str, float]


class SearchService:
    """Answers queries.

    Args:
        releases: the releases that the ingress holds open.
        stages: retrieve, fuse and rank, here or in other processes.
        budgets: deadline of each step.
        num_threads: worker threads of this process.
        served: the log of served requests.
    """

    def __init__(
        self,
        *,
        releases: ReleaseCache[IngressRelease],
        stages: Stages,
        budgets: Budgets,
        num_threads: int,
        served: ServedLog,
    ) -> None:
        self._releases, self._stages, self._budgets, self._served = releases, stages, budgets, served
        pool = ThreadPoolExecutor(num_threads, thread_name_prefix="steps")
        self._threads = StepThreads(pool, wait_ms=budgets.thread_ms, check_ms=budgets.shortest_step_ms)
        # one thread: opening a release takes long, and requests that need the same one wait without a thread
        self._refresh_thread = ThreadPoolExecutor(1, thread_name_prefix="refresh-release")

    async def search(self, query: Query) -> SearchResult:
        """Answer a query.

        Raises:
            ApiError: 422 for an image or filter that is not valid, 503 when a step without a fallback is not available.
        """
        release_id = self._releases.current
        try:
            return await self._search_release(query, release_id)
        except ReleaseMismatch:
            alternative_id = await self._alternative_to(release_id, query)
        try:
            return await self._search_release(query, alternative_id)
        except ReleaseMismatch as error:
            log_warning("release_mismatch", request_id=query.request_id, error=str(error))
            raise ApiError(503, "a release is being swapped; try again") from None

    async def _search_release(self, query: Query, release_id: ReleaseId) -> SearchResult:
        release = self._releases.get(release_id)
        took_ms: dict[str, float] = {}
        try:
            ranked, replaced = await run_steps(self._rank(query, release), self._threads, took_ms)
        except (StepUnavailable, ThreadsBusy) as error:
            log_warning("search_unavailable", request_id=query.request_id, release_id=release_id, reason=str(error))
            raise ApiError(503, f"the search is not available: {error}") from None
        except DataError as error:
            message = f"{error.field}: found {error.found}; allowed: {error.allowed}"
            raise ApiError(422, message, field=error.field) from None
        page = ranked.page(query)
        page = replace(page, degraded=tuple(dict.fromkeys((*replaced, *page.degraded))))
        self._served.append(query=query, ranked=ranked, page=page, product_ids=release.product_ids)
        if page.degraded:
            steps = "; ".join(page.degraded)
            log_warning("degraded", request_id=query.request_id, release_id=release_id, steps=steps)
        return SearchResult(page, release, took_ms)

    async def _rank(self, query: Query, release: IngressRelease) -> tuple[Ranked, list[str]]:
        """Encode, retrieve, fuse, rank; awaits only steps, see `deadlines.py`. Also returns the replaced steps."""
        budgets, stages, release_id = self._budgets, self._stages, release.release_id
        replaced: list[str] = []
        vectors: dict[str, QueryVector] = {}

        if query.text:
            words = replace(query, image=None)
            try:
                vectors |= await step("text encoder", budgets.text_encoder_ms, _encode, release, words)
            except StepUnavailable as error:
                replaced.append(str(error))
        if query.image:
            image = replace(query, text=None)
            try:
                vectors |= await step("image encoder", budgets.image_encoder_ms, _encode, release, image)
            except StepUnavailable as error:
                replaced.append(str(error))
        if not (query.text or query.seed_product_ids or vectors):
            raise StepUnavailable("; ".join(replaced))  # nothing is left to search by

        encoded = EncodedQuery(query=without_image(query), vectors=vectors)
        candidates = await step("retriever", budgets.retriever_ms, stages.retrieve, release_id, encoded)

        try:
            candidates = await step("fuser", budgets.fuser_ms, stages.fuse, release_id, candidates)
        except StepUnavailable as error:
            replaced.append(str(error))
            candidates = SpecFuser(_FALLBACK_FUSION).fuse(candidates)

        ranker_ms = budgets.ranker_ms + (budgets.explain_ms if query.explain else 0)
        try:
            ranked = await step("ranker", ranker_ms, stages.rank, release_id, encoded.query, candidates)
        except StepUnavailable as error:
            ranked = in_fused_order(candidates, release.rank_depth, degraded=(str(error),))
        return ranked, replaced

    async def _alternative_to(self, release_id: ReleaseId, query: Query) -> ReleaseId:
        alternative = asyncio.get_running_loop().run_in_executor(
            self._refresh_thread, self._releases.alternative_to, release_id
        )
        try:
            async with asyncio.timeout(self._budgets.release_ms / 1_000):
                return await alternative
        except TimeoutError:
            reason = f"release: deadline {self._budgets.release_ms} ms"
        except Exception as error:
            log_warning("step_failed", step="release", request_id=query.request_id, error=type(error).__name__)
            reason = "release: failed"
        raise ApiError(503, f"a release is being swapped; try again ({reason})")


def _encode(release: IngressRelease, query: Query) -> Mapping[str, QueryVector]:
    try:
        return release.encoders.encode(query).vectors
    except ImageError as error:
        raise ApiError(422, f"image: {error}", field="image") from None
