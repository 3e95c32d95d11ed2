"""The OpenAPI document: adds the bodies and parameters that the routes parse themselves, and the error responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from serve_apps.http.requests import EventIn, SearchRequest, SimilarRequest

_REFERENCE = "#/components/schemas/{model}"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "field"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "field": {
                    "type": ["string", "null"],
                    "description": "path of the field to correct, e.g. filters.brands[0]",
                },
                "problems": {"type": "array", "items": {"type": "object"}},
            },
        }
    },
}
_ERROR_STATUSES = {
    "404": "no such product, image or page",
    "413": "the body, the image or the list is too long",
    "422": "a field is not valid; `field` is its path",
    "503": "a step is not available; try again after Retry-After seconds",
}


def describe_api(api: FastAPI, *, search: Mapping[str, str], similar: Mapping[str, str]) -> None:
    """Replace `api.openapi` by one that also describes what FastAPI cannot see.

    Args:
        api: the application with all its routes.
        search: URL parameters of GET /v1/search -> dotted field of a SearchRequest.
        similar: URL parameters of GET /v1/similar -> dotted field of a SimilarRequest.
    """
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(_complete(FastAPI.openapi(api)))
            paths = document["paths"]
            _add_parameters(paths["/v1/search"]["get"], search, document["components"]["schemas"])
            _add_parameters(paths["/v1/similar/{product_id}"]["get"], similar, document["components"]["schemas"])
        return document

    api.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    models = ((model, "validation") for model in (SearchRequest, SimilarRequest, EventIn))
    _, definitions = models_json_schema([*models], ref_template=_REFERENCE)  # type: ignore[list-item]
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= definitions["$defs"] | {"Error": _ERROR}
    paths = document["paths"]
    paths["/v1/search"]["post"]["requestBody"] = _body(
        {
            "application/json": _ref("SearchRequest"),
            "multipart/form-data": {
                "type": "object",
                "properties": {
                    "image": {"type": "string", "format": "binary"},
                    "request": {**_ref("SearchRequest"), "description": "or the same fields as separate parts"},
                },
            },
        }
    )
    event = _ref("EventIn")
    paths["/v1/events"]["post"]["requestBody"] = _body(
        {"application/json": {"oneOf": [event, {"type": "array", "items": event}]}}
    )
    for path, operations in paths.items():
        for operation in operations.values():
            replies = operation.setdefault("responses", {})
            for status, meaning in _ERROR_STATUSES.items():
                if status != "404" or "{" in path:
                    replies[status] = {
                        "description": meaning,
                        "content": {"application/json": {"schema": _ref("Error")}},
                    }
    return document


def _add_parameters(operation: dict[str, Any], names: Mapping[str, str], schemas: Mapping[str, Any]) -> None:
    fields = {
        **schemas["SearchRequest"]["properties"],
        **{f"filters.{name}": schema for name, schema in schemas["FiltersIn"]["properties"].items()},
    }
    operation.setdefault("parameters", []).extend(
        {"name": name, "in": "query", "required": name == "q", "schema": fields[path]} for name, path in names.items()
    )


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {kind: {"schema": schema} for kind, schema in content.items()}}


def _ref(model: str) -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(model=model)}
