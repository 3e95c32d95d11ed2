"""From an HTTP request to a `Query` or an `Event`: the request schemas and their parsing.

Requests are JSON, multipart or URL parameters. Every error names the field. pydantic is used in `serve_apps/http` only.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

import pydantic_core
from fastapi import Request
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.types import Message

from intarsia.ids import EventId, ProductId, ReleaseId, RequestId
from intarsia.image import ImageError, size_of
from intarsia.records.event import Event, EventKind
from intarsia.records.query import Filters, Query
from intarsia.text import clean, detect_locale
from serve_apps.http.errors import ApiError, invalid_request
from serve_apps.settings import Limits

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_TEXT_CHARS = 512
MAX_NAMES = 100
_MAX_OFFSET = 100_000
_MAX_PRICE = 10**15
_MAX_CLOCK_SKEW = timedelta(minutes=5)

_IMAGE_PART = "image"
_JSON_PART = "request"
_ATTRIBUTES = "attributes."
_DATA_URL = "base64,"
_LISTS = ("facets", "filters.brands", "filters.category", "filters.exclude")

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Names = Annotated[list[Name], Field(max_length=MAX_NAMES)]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[\w.:\-]+$")]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS), AfterValidator(clean)]
"""Visible text: spaces and control characters alone are an empty text."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FiltersIn(_Strict):
    """Conditions on products; an empty filter allows every product. Prices are minor units (cents, fen)."""

    category: Annotated[list[Name], Field(max_length=10)] = Field(default=[], description="path prefix, top first")
    brands: Names = Field(default=[], description="alternatives")
    price_min: int | None = Field(default=None, ge=0, le=_MAX_PRICE)
    price_max: int | None = Field(default=None, ge=0, le=_MAX_PRICE)
    attributes: dict[Name, Names] = Field(default={}, max_length=MAX_NAMES, description="name -> alternative values")
    in_stock: bool | None = None
    exclude: Annotated[list[Name], Field(max_length=1_000)] = Field(default=[], description="product ids")

    @model_validator(mode="after")
    def _prices_in_order(self) -> FiltersIn:
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            raise ValueError(f"price_min {self.price_min} is above price_max {self.price_max}")
        return self

    def to_record(self) -> Filters:
        return Filters(
            category=tuple(self.category),
            brands=tuple(self.brands),
            price_min=self.price_min,
            price_max=self.price_max,
            attributes={name: tuple(values) for name, values in self.attributes.items()},
            in_stock=self.in_stock,
            exclude=tuple(ProductId(p) for p in self.exclude),
        )


class _PageRequest(_Strict):
    """The fields of every request for a page of hits."""

    filters: FiltersIn = FiltersIn()
    facets: Annotated[list[Name], Field(max_length=20)] = Field(
        default=[], description="category, brand, price, in_stock, attributes.<name>: counted over all matches"
    )
    locale: Literal["zh", "en"] | None = Field(default=None, description="default: detected from the text")
    offset: int = Field(default=0, ge=0, le=_MAX_OFFSET)
    limit: int = Field(default=20, ge=1, le=1_000, description="hits on this page; the server may allow fewer")
    explain: bool = Field(default=False, description="return the contribution of every feature to the score")
    request_id: Identifier | None = Field(default=None, description="default: random")
    user_id: Identifier | None = None
    session_id: Identifier | None = None


class SearchRequest(_PageRequest):
    """A search by words, by image, or both."""

    text: Text | None = None
    image_base64: str | None = Field(
        default=None, description="a JPEG, PNG, WebP or GIF file; in multipart requests: the part `image`"
    )

    def to_query(self, *, image: bytes | None, request_id: RequestId, asked_at: datetime) -> Query:
        """Convert to a `Query`; at least one of text and image is given."""
        return _query(self, text=self.text or None, image=image, seeds=(), request_id=request_id, asked_at=asked_at)


class SimilarRequest(_PageRequest):
    """The products most similar to one product."""

    def to_query(self, *, seed: ProductId, request_id: RequestId, asked_at: datetime) -> Query:
        """Convert to a `Query` seeded with a product."""
        return _query(self, text=None, image=None, seeds=(seed,), request_id=request_id, asked_at=asked_at)


def _query(
    page_request: _PageRequest,
    *,
    text: str | None,
    image: bytes | None,
    seeds: tuple[ProductId, ...],
    request_id: RequestId,
    asked_at: datetime,
) -> Query:
    return Query(
        request_id=request_id,
        text=text,
        image=image,
        seed_product_ids=seeds,
        user_id=page_request.user_id,
        session_id=page_request.session_id,
        filters=page_request.filters.to_record(),
        locale=page_request.locale or detect_locale(text or ""),
        asked_at=asked_at,
        offset=page_request.offset,
        limit=page_request.limit,
        facets=tuple(page_request.facets),
        explain=page_request.explain,
    )


class EventIn(_Strict):
    """One action of a shopper on one product of a page. An event that is sent twice with one `event_id` counts once."""

    event_id: Identifier
    request_id: Identifier
    release_id: Identifier
    kind: EventKind
    product_id: Name
    position: int | None = Field(default=None, ge=1, le=_MAX_OFFSET, description="from 1, over all pages")
    value: float | None = Field(default=None, allow_inf_nan=False, description="a rating or an amount")
    dwell_ms: int | None = Field(default=None, ge=0, le=86_400_000)
    user_id: Identifier | None = None
    session_id: Identifier | None = None
    occurred_at: AwareDatetime | None = Field(default=None, description="ISO 8601 with time zone; default: now")

    def to_record(self, *, received_at: datetime) -> Event:
        """Convert to an `Event`; a clock that is up to five minutes ahead is set back to the time of arrival.

        Raises:
            ValueError: the event is further in the future.
        """
        occurred_at = (self.occurred_at or received_at).astimezone(UTC)
        if occurred_at > received_at + _MAX_CLOCK_SKEW:
            raise ValueError(f"occurred_at {occurred_at.isoformat()} is in the future; it is {received_at.isoformat()}")
        return Event(
            event_id=EventId(self.event_id),
            request_id=RequestId(self.request_id),
            release_id=ReleaseId(self.release_id),
            kind=self.kind,
            product_id=ProductId(self.product_id),
            position=self.position,
            value=self.value,
            dwell_ms=self.dwell_ms,
            user_id=self.user_id,
            session_id=self.session_id,
            occurred_at=min(occurred_at, received_at),
            received_at=received_at,
        )


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read the whole body.

    Raises:
        ApiError: 413 as soon as it is longer than allowed, whether or not Content-Length is given.
    """
    content_length = request.headers.get("content-length", "")
    if content_length.isdecimal() and int(content_length) > limits.max_body_bytes:
        raise _body_too_long(limits)
    chunks: list[bytes] = []
    num_bytes = 0
    async for chunk in request.stream():
        num_bytes += len(chunk)
        if num_bytes > limits.max_body_bytes:
            raise _body_too_long(limits)
        chunks.append(chunk)
    return b"".join(chunks)


async def read_search_request(request: Request, limits: Limits) -> tuple[SearchRequest, bytes | None]:
    """Read a search request and the bytes of its image from JSON or multipart.

    Raises:
        ApiError: 413 or 422, with the field.
    """
    body = await read_body(request, limits)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        search, image = await _from_multipart(request, body)
        image_field = _IMAGE_PART
    else:
        search = from_json(SearchRequest, body)
        image = _from_base64(search.image_base64) if search.image_base64 else None
        image_field = "image_base64"
    if image is not None:
        _check_image(image, image_field, limits)
    elif not search.text:
        raise ApiError(422, "text: give words, an image, or both", field="text")
    check_limit(search.limit, limits)
    return search, image


def from_json(model: type[ModelT], body: bytes) -> ModelT:
    """Validate a JSON body without converting types: "10" is not an integer.

    Raises:
        ApiError: 422 with the field.
    """
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise invalid_request(error) from None


def from_query(model: type[ModelT], parameters: QueryParams, names: Mapping[str, str]) -> ModelT:
    """Validate URL parameters.

    Args:
        model: the request schema.
        parameters: of the URL; a list is given by repeating the name.
        names: parameter -> dotted field. `attributes.<name>` is always allowed; other parameters are refused.

    Raises:
        ApiError: 422 with the parameter.
    """
    values: dict[str, Any] = {}
    for name in parameters:
        texts = parameters.getlist(name)
        if name.startswith(_ATTRIBUTES):
            values.setdefault("filters", {}).setdefault("attributes", {})[name.removeprefix(_ATTRIBUTES)] = texts
            continue
        if (path := names.get(name)) is None:
            known = ", ".join([*names, f"{_ATTRIBUTES}<name>"])
            raise ApiError(422, f"{name}: unknown parameter; known: {known}", field=name)
        if path not in _LISTS and len(texts) > 1:
            raise ApiError(422, f"{name}: given {len(texts)} times; allowed: once", field=name)
        *groups, field = path.split(".")
        target = values
        for group in groups:
            target = target.setdefault(group, {})
        target[field] = texts if path in _LISTS else texts[0]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_request(error) from None


def check_limit(limit: int, limits: Limits) -> None:
    """Refuse a page that is longer than this server allows.

    Raises:
        ApiError: 422.
    """
    if limit > limits.max_hits:
        raise ApiError(422, f"limit: found {limit}; allowed: 1..{limits.max_hits}", field="limit")


def json_value(body: bytes) -> Any:
    """Parse a JSON body.

    Raises:
        ApiError: 422.
    """
    return _parse_json(body, field="body")


async def _from_multipart(request: Request, body: bytes) -> tuple[SearchRequest, bytes | None]:
    values: dict[str, Any] = {}
    image: bytes | None = None
    for name, value in await _parts(request, body):
        if name == _IMAGE_PART:
            if isinstance(value, str):
                raise ApiError(422, "image: found text; allowed: a file part with a filename", field=_IMAGE_PART)
            image = value
        elif isinstance(value, bytes):
            raise ApiError(422, f"{name}: found a file; the only file part is {_IMAGE_PART}", field=name)
        elif name == _JSON_PART:
            fields = _parse_json(value.encode(), field=_JSON_PART)
            if not isinstance(fields, dict):
                message = f"{_JSON_PART}: found {type(fields).__name__}; allowed: an object"
                raise ApiError(422, message, field=_JSON_PART)
            values = fields | values
        else:
            values[name] = _parse_json(value.encode(), field=name) if name in ("filters", "facets") else value
    if "image_base64" in values:
        raise ApiError(422, f"image_base64: send the file as the part {_IMAGE_PART}", field="image_base64")
    try:
        return SearchRequest.model_validate(values), image
    except ValidationError as error:
        raise invalid_request(error) from None


async def _parts(request: Request, body: bytes) -> list[tuple[str, bytes | str]]:
    """The parts in order: files as bytes, fields as text."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    form_request = Request(request.scope, receive)
    try:
        async with form_request.form(max_files=2, max_fields=50, max_part_size=len(body) + 1) as form:
            return [(name, v if isinstance(v, str) else await v.read()) for name, v in form.multi_items()]
    except (HTTPException, MultiPartException, KeyError) as error:
        reason = getattr(error, "detail", None) or getattr(error, "message", "no boundary")
        raise ApiError(422, f"body: not a multipart form: {reason}", field="body") from None


def _parse_json(body: bytes, *, field: str) -> Any:
    try:
        return pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(422, f"{field}: not JSON: {error}", field=field) from None


def _from_base64(text: str) -> bytes:
    content = text.split(_DATA_URL, 1)[1] if text.startswith("data:") and _DATA_URL in text else text
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(422, f"image_base64: not base64: {error}", field="image_base64") from None


def _check_image(image: bytes, field: str, limits: Limits) -> None:
    if len(image) > limits.max_image_bytes:
        message = f"{field}: the image has {len(image)} bytes; allowed: {limits.max_image_bytes}"
        raise ApiError(413, message, field=field)
    try:
        size_of(image, max_pixels=limits.max_image_pixels)
    except ImageError as error:
        raise ApiError(422, f"{field}: {error}", field=field) from None


def _body_too_long(limits: Limits) -> ApiError:
    return ApiError(413, f"body: longer than {limits.max_body_bytes} bytes", field="body")
