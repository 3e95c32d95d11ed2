"""Every error response, from 400 to 503, has one shape: `{"error": {"code", "field", "message", ...}}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from intarsia.logs import log_warning

RETRY_AFTER_S = 1
_MAX_PROBLEMS = 10
_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    422: "invalid",
    503: "unavailable",
}
Location = Sequence[str | int]
Problem = tuple[str, str]
"""The path of a field, and what is wrong with it."""


class ApiError(Exception):
    """An error response.

    Attributes:
        status: HTTP status.
        message: one sentence.
        field: path of the field to correct, or None.
        problems: all problems of the request; listed in the response if there are several.
    """

    def __init__(
        self, status: int, message: str, *, field: str | None = None, problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.field, self.problems = status, message, field, tuple(problems)


def invalid_request(error: ValidationError) -> ApiError:
    """Return the 422 of a body or URL that does not fit its schema."""
    listed = problems(error)
    field, message = listed[0]
    return ApiError(422, f"{field}: {message}", field=field, problems=listed)


def problems(error: ValidationError, *, at: Location = ()) -> list[Problem]:
    """Return the first ten problems of a pydantic error; `at` is the location of the validated value."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        (dotted((*at, *detail["loc"])), detail["msg"].removeprefix("Value error, "))
        for detail in details[:_MAX_PROBLEMS]
    ]


def dotted(location: Location) -> str:
    """Write the location of a field as a path; the body itself is `body`.

    >>> dotted(("filters", "brands", 0))
    'filters.brands[0]'
    """
    path = ""
    for key in location:
        path += f"[{key}]" if isinstance(key, int) else f".{key}" if path else key
    return path or "body"


def install(api: FastAPI) -> None:
    """Make every error of an application an error response of the one shape."""

    @api.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> JSONResponse:
        return error_reply(error)

    @api.exception_handler(HTTPException)
    async def http_exception(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return error_reply(ApiError(404, f"there is nothing at {request.url.path}"))
        return error_reply(ApiError(error.status_code, str(error.detail)), headers=dict(error.headers or {}))

    @api.exception_handler(Exception)
    async def internal_error(request: Request, error: Exception) -> JSONResponse:
        log_warning("request_failed", path=request.url.path, error=type(error).__name__, message=str(error))
        return error_reply(ApiError(500, "internal error; see the server's log"))


def error_reply(error: ApiError, *, headers: dict[str, str] | None = None) -> JSONResponse:
    """Format an error; a 503 has a Retry-After header."""
    body: dict[str, Any] = {
        "code": _CODES.get(error.status, "error"),
        "field": error.field,
        "message": error.message,
    }
    if len(error.problems) > 1:
        body["problems"] = [{"field": field, "message": message} for field, message in error.problems]
    headers = dict(headers or {})
    if error.status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return JSONResponse({"error": body}, status_code=error.status, headers=headers)
