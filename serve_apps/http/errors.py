"""One shape for every answer that is not a result: `{"error": {"code", "field", "message", …}}`, from 400 to 503."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from intarsia.logs import log_warning

RETRY_AFTER_S = 1
_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    422: "invalid",
    503: "unavailable",
}
Location = Sequence[str | int]


class ApiError(Exception):
    """A request that is answered with an error: its HTTP status, the path of the field to mend (or none) and a sentence."""

    def __init__(
        self, status: int, message: str, *, field: str | None = None, problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.field, self.problems = status, message, field, tuple(problems)


Problem = tuple[str, str]
"""A field's path and what is wrong with it."""


def refuse_invalid(error: ValidationError, *, at: Location = ()) -> ApiError:
    """The refusal of a body or query that is not what its model says."""
    found = problems(error, at=at)
    field, message = found[0]
    return ApiError(422, f"{field}: {message}", field=field, problems=found)


def problems(error: ValidationError, *, at: Location = ()) -> list[Problem]:
    """Each problem of a pydantic error with the path of its field, at most ten."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    return [(dotted((*at, *detail["loc"])), _sentence(detail["msg"])) for detail in details[:10]]


def dotted(location: Location) -> str:
    """A field's path as people write it: `filters.brands[0]`; the body itself is `body`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path or "body"


def install(api: FastAPI) -> None:
    """Make every error of an app speak in the one shape."""

    @api.exception_handler(ApiError)
    async def refused(request: Request, refusal: ApiError) -> JSONResponse:
        return error_reply(refusal)

    @api.exception_handler(HTTPException)
    async def not_routed(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return error_reply(ApiError(404, f"there is nothing at {request.url.path}"))
        return error_reply(ApiError(error.status_code, str(error.detail)), headers=dict(error.headers or {}))

    @api.exception_handler(Exception)
    async def our_fault(request: Request, error: Exception) -> JSONResponse:
        log_warning("request_failed", path=request.url.path, error=type(error).__name__, said=str(error))
        return error_reply(ApiError(500, "this is our fault, and it is in the log"))


def error_reply(refusal: ApiError, *, headers: dict[str, str] | None = None) -> JSONResponse:
    """A refusal as a reply; 503 says when to come again."""
    error: dict[str, Any] = {
        "code": _CODES.get(refusal.status, "error"),
        "field": refusal.field,
        "message": refusal.message,
    }
    if len(refusal.problems) > 1:
        error["problems"] = [{"field": field, "message": message} for field, message in refusal.problems]
    headers = dict(headers or {})
    if refusal.status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return JSONResponse({"error": error}, status_code=refusal.status, headers=headers)


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")
