"""From an HTTP request to a checked one: JSON or multipart, within the limits, every refusal naming the field."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, TypeVar

import pydantic_core
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.types import Message

from intarsia.image import ImageError, size_of
from serve_apps.http.errors import ApiError, refuse_invalid
from serve_apps.http.schemas import SearchRequest
from serve_apps.settings import Limits

ModelT = TypeVar("ModelT", bound=BaseModel)

_IMAGE_PART = "image"
_JSON_PART = "request"
_ATTRIBUTES = "attributes."
_DATA_URL = "base64,"
_LISTS = ("facets", "filters.brands", "filters.category", "filters.exclude")


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body.

    Raises:
        Refusal: 413 as soon as it is longer than allowed, told or untold.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limits.max_body_bytes:
        raise _too_long(limits)
    pieces: list[bytes] = []
    num_bytes = 0
    async for piece in request.stream():
        num_bytes += len(piece)
        if num_bytes > limits.max_body_bytes:
            raise _too_long(limits)
        pieces.append(piece)
    return b"".join(pieces)


async def read_search(request: Request, limits: Limits) -> tuple[SearchRequest, bytes | None]:
    """A search request with the bytes of its picture, from JSON or multipart."""
    body = await read_body(request, limits)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        asked, image = await _from_parts(request, body)
        field = _IMAGE_PART
    else:
        asked = from_json(SearchRequest, body)
        image = _from_base64(asked.image_base64) if asked.image_base64 else None
        field = "image_base64"
    if image is not None:
        _check_image(image, field, limits)
    elif not asked.text:
        raise ApiError(422, "text: give words, a picture, or both", field="text")
    check_limit(asked.limit, limits)
    return asked, image


def from_json(model: type[ModelT], body: bytes) -> ModelT:
    """A body as a model; types are taken at their word ("10" is not 10)."""
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise refuse_invalid(error) from None


def from_query(model: type[ModelT], parameters: QueryParams, names: Mapping[str, str]) -> ModelT:
    """URL parameters as a model.

    Args:
        model: what to make.
        parameters: of the URL; a list is given by repeating the name.
        names: parameter -> dotted field; `attributes.<name>` is always understood, others are refused.

    Raises:
        Refusal: 422 naming the parameter.
    """
    values: dict[str, Any] = {}
    for name in parameters:
        given = parameters.getlist(name)
        if name.startswith(_ATTRIBUTES):
            values.setdefault("filters", {}).setdefault("attributes", {})[name.removeprefix(_ATTRIBUTES)] = given
            continue
        if (path := names.get(name)) is None:
            known = ", ".join([*names, f"{_ATTRIBUTES}<name>"])
            raise ApiError(422, f"{name}: unknown parameter; known: {known}", field=name)
        if path not in _LISTS and len(given) > 1:
            raise ApiError(422, f"{name}: given {len(given)} times; allowed: once", field=name)
        *groups, last = path.split(".")
        place = values
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = given if path in _LISTS else given[0]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise refuse_invalid(error) from None


def check_limit(limit: int, limits: Limits) -> None:
    """Refuse a page longer than this server makes."""
    if limit > limits.max_hits:
        raise ApiError(422, f"limit: found {limit}; allowed: 1..{limits.max_hits}", field="limit")


def json_value(body: bytes) -> Any:
    """A JSON body as plain values."""
    return _json(body, at="body")


async def _from_parts(request: Request, body: bytes) -> tuple[SearchRequest, bytes | None]:
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
            whole = _json(value.encode(), at=_JSON_PART)
            if not isinstance(whole, dict):
                raise ApiError(422, f"{_JSON_PART}: found {type(whole).__name__}; allowed: an object", field=_JSON_PART)
            values = whole | values
        else:
            values[name] = _json(value.encode(), at=name) if name in ("filters", "facets") else value
    if "image_base64" in values:
        raise ApiError(422, f"image_base64: send the file as the part {_IMAGE_PART}", field="image_base64")
    try:
        return SearchRequest.model_validate(values), image
    except ValidationError as error:
        raise refuse_invalid(error) from None


async def _parts(request: Request, body: bytes) -> list[tuple[str, bytes | str]]:
    """The parts in order: files as bytes, fields as text."""

    async def replay() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with Request(request.scope, replay).form(max_files=2, max_fields=50, max_part_size=len(body) + 1) as form:
            return [(name, v if isinstance(v, str) else await v.read()) for name, v in form.multi_items()]
    except (HTTPException, MultiPartException, KeyError) as error:
        said = getattr(error, "detail", None) or getattr(error, "message", "no boundary")
        raise ApiError(422, f"body: not a multipart form: {said}", field="body") from None


def _json(body: bytes, *, at: str) -> Any:
    try:
        return pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(422, f"{at}: not JSON: {error}", field=at) from None


def _from_base64(text: str) -> bytes:
    content = text.split(_DATA_URL, 1)[1] if text.startswith("data:") and _DATA_URL in text else text
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(422, f"image_base64: not base64: {error}", field="image_base64") from None


def _check_image(image: bytes, field: str, limits: Limits) -> None:
    if len(image) > limits.max_image_bytes:
        raise ApiError(
            413, f"{field}: the picture has {len(image)} bytes; allowed: {limits.max_image_bytes}", field=field
        )
    try:
        size_of(image, max_pixels=limits.max_image_pixels)
    except ImageError as error:
        raise ApiError(422, f"{field}: {error}", field=field) from None


def _too_long(limits: Limits) -> ApiError:
    return ApiError(413, f"body: longer than {limits.max_body_bytes} bytes", field="body")
