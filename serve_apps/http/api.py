"""The HTTP edge: routes, headers and what the replies look like; it runs under Ray Serve and under any ASGI server."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel

from intarsia import __version__
from intarsia.ids import ProductId, RequestId
from serve_apps.http import errors
from serve_apps.http.errors import ApiError
from serve_apps.http.openapi import describe
from serve_apps.http.request_parsing import check_limit, from_query, read_body, read_search
from serve_apps.http.responses import image_type, product_reply, release_reply, search_reply
from serve_apps.http.schemas import EventsReply, ProductReply, ReleaseReply, SearchReply, SearchRequest, SimilarRequest
from serve_apps.service.feedback import Feedback
from serve_apps.service.ingress_release import IngressRelease
from serve_apps.service.release_cache import ReleaseCache
from serve_apps.service.search_service import Answered, SearchService
from serve_apps.service.served_log import ServedLog
from serve_apps.service.stages import Stages
from serve_apps.settings import ServingConfig

PAGE = Path(__file__).parent / "page"
_PAGE_FILES = {"style.css": "text/css", "app.js": "text/javascript"}
_PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)

_FILTER_PARAMETERS = {
    "category": "filters.category",
    "brand": "filters.brands",
    "price_min": "filters.price_min",
    "price_max": "filters.price_max",
    "in_stock": "filters.in_stock",
    "exclude": "filters.exclude",
}
_PAGE_PARAMETERS = {
    name: name for name in ("facets", "locale", "offset", "limit", "explain", "request_id", "user_id", "session_id")
}
SEARCH_PARAMETERS = {"q": "text", **_PAGE_PARAMETERS, **_FILTER_PARAMETERS}
SIMILAR_PARAMETERS = {**_PAGE_PARAMETERS, **_FILTER_PARAMETERS}


def build_api(
    *,
    config: ServingConfig,
    held: ReleaseCache[IngressRelease],
    stages: Stages,
    answerer: SearchService,
    feedback: Feedback,
    served: ServedLog,
) -> FastAPI:
    """The application over what a process holds open."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(served.flush)

    api = FastAPI(title="intarsia", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    errors.install(api)

    @api.post("/v1/search", response_model=SearchReply)
    async def search(request: Request) -> Response:
        """Search by words, by picture, or both."""
        start_s = time.perf_counter()
        asked, image = await read_search(request, config.limits)
        query = asked.to_query(image=image, request_id=_request_id(asked), asked_at=datetime.now(UTC))
        return _page(await answerer.answer(query), asked, start_s)

    @api.get("/v1/search", response_model=SearchReply)
    async def search_by_url(request: Request) -> Response:
        """Search by words."""
        start_s = time.perf_counter()
        asked = from_query(SearchRequest, request.query_params, SEARCH_PARAMETERS)
        if not asked.text:
            raise ApiError(422, "q: give words to search for", field="q")
        check_limit(asked.limit, config.limits)
        query = asked.to_query(image=None, request_id=_request_id(asked), asked_at=datetime.now(UTC))
        return _page(await answerer.answer(query), asked, start_s)

    @api.get("/v1/similar/{product_id:path}", response_model=SearchReply)
    async def similar(product_id: str, request: Request) -> Response:
        """The products most like one product, by its words and its pictures."""
        start_s = time.perf_counter()
        asked = from_query(SimilarRequest, request.query_params, SIMILAR_PARAMETERS)
        check_limit(asked.limit, config.limits)
        _row(held.of(held.current), product_id)
        query = asked.to_query(seed=ProductId(product_id), request_id=_request_id(asked), asked_at=datetime.now(UTC))
        return _page(await answerer.answer(query), asked, start_s)

    @api.get("/v1/products/{product_id:path}/images/{number:int}", response_class=Response)
    async def image(product_id: str, number: int) -> Response:
        """One picture of a product, as the shop gave it."""
        front = held.of(held.current)
        longer_id = f"{product_id}/images/{number}"
        if front.filters.find(product_id) is None and front.filters.find(longer_id) is not None:
            return await product(longer_id)  # an id may hold anything, this too
        content = front.documents.image(_row(front, product_id), number)
        if content is None:
            raise ApiError(404, f"product {product_id} has no picture {number}", field="number")
        headers = {"Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type=image_type(content), headers=headers)

    @api.get("/v1/products/{product_id:path}", response_model=ProductReply)
    async def product(product_id: str) -> Response:
        """One product."""
        front = held.of(held.current)
        return _json(product_reply(front, _row(front, product_id)))

    @api.post("/v1/events", status_code=202, response_model=EventsReply)
    async def events(request: Request) -> Response:
        """What shoppers did: one event or a list of them, on disk before the answer is given."""
        reply = await feedback.take(await read_body(request, config.limits))
        return _json(reply, status=202)

    @api.get("/v1/release", response_model=ReleaseReply)
    async def release() -> Response:
        """What is being served."""
        return _json(release_reply(held.of(held.current), config.topology))

    @api.get("/healthz")
    async def alive() -> Response:
        """Whether this process runs."""
        return JSONResponse({"status": "alive"})

    @api.get("/readyz")
    async def ready() -> Response:
        """Whether a search would be answered now, and which release each stage holds."""
        try:
            found = await stages.releases()
        except Exception as error:
            raise ApiError(503, f"a stage does not answer: {type(error).__name__}") from None
        return JSONResponse({"status": "ready", "release_id": held.current, "stages": found})

    @api.get("/", include_in_schema=False)
    async def page() -> Response:
        return _page_file("index.html", "text/html")

    @api.get("/page/{name}", include_in_schema=False)
    async def page_file(name: str) -> Response:
        if name not in _PAGE_FILES:
            raise ApiError(404, f"there is nothing at /page/{name}")
        return _page_file(name, _PAGE_FILES[name])

    describe(api, search=SEARCH_PARAMETERS, similar=SIMILAR_PARAMETERS)
    return api


def _request_id(asked: SearchRequest | SimilarRequest) -> RequestId:
    return RequestId(asked.request_id or uuid.uuid4().hex)


def _row(front: IngressRelease, product_id: str) -> int:
    row = front.filters.find(product_id)
    if row is None:
        raise ApiError(404, f"there is no product {product_id!r} in release {front.release_id}", field="product_id")
    return row


def _page(answered: Answered, asked: SearchRequest | SimilarRequest, start_s: float) -> Response:
    body = search_reply(answered, offset=asked.offset, limit=asked.limit)
    took_ms = {**answered.took_ms, "total": (time.perf_counter() - start_s) * 1_000}
    return _json(body, headers={"Server-Timing": _server_timing(took_ms)})


def _server_timing(took_ms: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace(' ', '_')};dur={ms:.2f}" for name, ms in took_ms.items())


def _json(body: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), status_code=status, media_type="application/json", headers=headers)


def _page_file(name: str, media_type: str) -> Response:
    headers = {
        "Content-Security-Policy": _PAGE_POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
    return FileResponse(PAGE / name, media_type=media_type, headers=headers)
