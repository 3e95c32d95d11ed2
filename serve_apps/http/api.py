"""The HTTP API: routes and headers. Runs under Ray Serve and under any ASGI server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel

from intarsia import __version__
from intarsia.ids import ProductId, RequestId, new_request_id
from serve_apps.http import errors
from serve_apps.http.errors import ApiError
from serve_apps.http.openapi import describe_api
from serve_apps.http.requests import (
    SearchRequest,
    SimilarRequest,
    check_limit,
    from_query,
    read_body,
    read_search_request,
)
from serve_apps.http.responses import (
    EventsReply,
    ProductReply,
    ReleaseReply,
    SearchReply,
    image_type,
    product_reply,
    release_reply,
    search_reply,
)
from serve_apps.service.feedback import Feedback
from serve_apps.service.releases import IngressRelease, ReleaseCache
from serve_apps.service.search_service import SearchResult, SearchService
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
    releases: ReleaseCache[IngressRelease],
    stages: Stages,
    search_service: SearchService,
    feedback: Feedback,
    served: ServedLog,
) -> FastAPI:
    """Build the application of one ingress process; `serve_apps/app.py` opens the arguments."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(served.flush)

    api = FastAPI(title="intarsia", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    errors.install(api)

    @api.post("/v1/search", response_model=SearchReply)
    async def search(request: Request) -> Response:
        """Search by words, by image, or both."""
        start_s = time.perf_counter()
        search_request, image = await read_search_request(request, config.limits)
        query = search_request.to_query(image=image, request_id=_request_id(search_request), asked_at=datetime.now(UTC))
        return _page_response(await search_service.search(query), search_request, start_s)

    @api.get("/v1/search", response_model=SearchReply)
    async def search_by_url(request: Request) -> Response:
        """Search by words."""
        start_s = time.perf_counter()
        search_request = from_query(SearchRequest, request.query_params, SEARCH_PARAMETERS)
        if not search_request.text:
            raise ApiError(422, "q: give words to search for", field="q")
        check_limit(search_request.limit, config.limits)
        query = search_request.to_query(image=None, request_id=_request_id(search_request), asked_at=datetime.now(UTC))
        return _page_response(await search_service.search(query), search_request, start_s)

    @api.get("/v1/similar/{product_id:path}", response_model=SearchReply)
    async def similar(product_id: str, request: Request) -> Response:
        """The products most similar to one product, by its text and its images."""
        start_s = time.perf_counter()
        similar_request = from_query(SimilarRequest, request.query_params, SIMILAR_PARAMETERS)
        check_limit(similar_request.limit, config.limits)
        _row(releases.get(releases.current), product_id)
        query = similar_request.to_query(
            seed=ProductId(product_id), request_id=_request_id(similar_request), asked_at=datetime.now(UTC)
        )
        return _page_response(await search_service.search(query), similar_request, start_s)

    @api.get("/v1/products/{product_id:path}/images/{number:int}", response_class=Response)
    async def image(product_id: str, number: int) -> Response:
        """One image of a product, as it is in the catalog."""
        release = releases.get(releases.current)
        longer_id = f"{product_id}/images/{number}"
        if release.filters.find(product_id) is None and release.filters.find(longer_id) is not None:
            return await product(longer_id)  # a product id may contain any characters, also these
        content = release.documents.image(_row(release, product_id), number)
        if content is None:
            raise ApiError(404, f"product {product_id} has no image {number}", field="number")
        headers = {"Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type=image_type(content), headers=headers)

    @api.get("/v1/products/{product_id:path}", response_model=ProductReply)
    async def product(product_id: str) -> Response:
        """One product."""
        release = releases.get(releases.current)
        return _json(product_reply(release, _row(release, product_id)))

    @api.post("/v1/events", status_code=202, response_model=EventsReply)
    async def events(request: Request) -> Response:
        """Feedback of shoppers: one event or a list of them; written to disk before the response."""
        reply = await feedback.store(await read_body(request, config.limits))
        return _json(reply, status=202)

    @api.get("/v1/release", response_model=ReleaseReply)
    async def current_release() -> Response:
        """The release that is served."""
        return _json(release_reply(releases.get(releases.current), config.topology))

    @api.get("/healthz")
    async def alive() -> Response:
        """Whether this process runs."""
        return JSONResponse({"status": "alive"})

    @api.get("/readyz")
    async def ready() -> Response:
        """Whether searches are answered now, and the release of each stage."""
        try:
            release_ids = await stages.releases()
        except Exception as error:
            raise ApiError(503, f"a stage does not answer: {type(error).__name__}") from None
        return JSONResponse({"status": "ready", "release_id": releases.current, "stages": release_ids})

    @api.get("/", include_in_schema=False)
    async def page() -> Response:
        return _page_file("index.html", "text/html")

    @api.get("/page/{name}", include_in_schema=False)
    async def page_file(name: str) -> Response:
        if name not in _PAGE_FILES:
            raise ApiError(404, f"there is nothing at /page/{name}")
        return _page_file(name, _PAGE_FILES[name])

    describe_api(api, search=SEARCH_PARAMETERS, similar=SIMILAR_PARAMETERS)
    return api


def _request_id(request: SearchRequest | SimilarRequest) -> RequestId:
    return RequestId(request.request_id) if request.request_id else new_request_id()


def _row(release: IngressRelease, product_id: str) -> int:
    row = release.filters.find(product_id)
    if row is None:
        raise ApiError(404, f"there is no product {product_id!r} in release {release.release_id}", field="product_id")
    return row


def _page_response(result: SearchResult, request: SearchRequest | SimilarRequest, start_s: float) -> Response:
    body = search_reply(result, offset=request.offset, limit=request.limit)
    took_ms = {**result.took_ms, "total": (time.perf_counter() - start_s) * 1_000}
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
