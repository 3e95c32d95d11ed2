"""The log of served requests: conversion between `ServedRequest` and JSON-able row, and reading the log.

Vectors are stored as base64 of little-endian float32.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from intarsia.config import to_jsonable
from intarsia.errors import DataError
from intarsia.ids import ProductId, ReleaseId, SpaceId
from intarsia.records.query import Filters, Query, QueryVector
from intarsia.records.served import IMAGE_NOT_STORED, ServedRequest
from intarsia.tables.segments import read_log

SERVED_LOG_VERSION = 1
"""Raised when rows change so that old readers cannot read them."""


def served_to_row(served: ServedRequest) -> dict[str, Any]:
    """Convert a record to a row of the log."""
    query = served.query
    return {
        "version": SERVED_LOG_VERSION,
        "query": {
            **to_jsonable(query),
            "image": query.image is not None,
            "asked_at": query.asked_at.isoformat(),
        },
        "release_id": served.release_id,
        "vectors": {
            name: {
                "space_id": vector.space_id,
                "values": base64.b64encode(vector.values_D.astype("<f4").tobytes()).decode(),
            }
            for name, vector in served.vectors.items()
        },
        "shown": [list(pair) for pair in served.shown],
        "digest": served.digest.hex(),
        "degraded": list(served.degraded),
    }


def row_to_served(row: Mapping[str, Any]) -> ServedRequest:
    """Convert a row of the log to a record.

    Raises:
        DataError: the row has another version.
    """
    if row.get("version") != SERVED_LOG_VERSION:
        raise DataError(
            table="served requests",
            field="version",
            found=row.get("version"),
            allowed=str(SERVED_LOG_VERSION),
            fix="read the log with the version of intarsia that wrote it, or remove it",
        )
    query = row["query"]
    return ServedRequest(
        query=Query(
            **_with_tuples(query)
            | {
                "filters": Filters(**_with_tuples(query["filters"])),
                "image": IMAGE_NOT_STORED if query["image"] else None,
                "asked_at": datetime.fromisoformat(query["asked_at"]),
            }
        ),
        release_id=ReleaseId(row["release_id"]),
        vectors={
            name: QueryVector(
                space_id=SpaceId(vector["space_id"]),
                values_D=np.frombuffer(base64.b64decode(vector["values"]), "<f4").astype(np.float32),
            )
            for name, vector in row["vectors"].items()
        },
        shown=tuple((position, ProductId(product_id)) for position, product_id in row["shown"]),
        digest=bytes.fromhex(row["digest"]),
        degraded=tuple(row["degraded"]),
    )


def read_served(folder: Path) -> Iterator[ServedRequest]:
    """Yield the requests of a log, segment by segment; a damaged end is left out."""
    return map(row_to_served, read_log(folder))


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the lists of JSON to the tuples of records."""
    return {name: _tuple(value) for name, value in values.items()}


def _tuple(value: Any) -> Any:
    if isinstance(value, dict):
        return _with_tuples(value)
    return tuple(value) if isinstance(value, list) else value
