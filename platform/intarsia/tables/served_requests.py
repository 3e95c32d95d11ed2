"""The log of served requests: Served <-> a JSON-able row, and reading the log. Vectors are base64 of their little-endian float32."""

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
from intarsia.records.served import IMAGE_LEFT_BEHIND, Served
from intarsia.tables.segments import read_rows

VERSION = 1
"""Grows when a row is written in a way that old readers cannot read."""


def served_to_row(served: Served) -> dict[str, Any]:
    """A row of the log."""
    query = served.query
    return {
        "version": VERSION,
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


def row_to_served(row: Mapping[str, Any]) -> Served:
    """The record of a row of the log.

    Raises:
        DataError: the row was written by a version of this code whose rows mean something else.
    """
    if row.get("version") != VERSION:
        raise DataError(
            table="served requests",
            field="version",
            found=row.get("version"),
            allowed=str(VERSION),
            fix="read the log with the version of intarsia that wrote it, or move it away",
        )
    query = row["query"]
    return Served(
        query=Query(
            **_with_tuples(query)
            | {
                "filters": Filters(**_with_tuples(query["filters"])),
                "image": IMAGE_LEFT_BEHIND if query["image"] else None,
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


def read_served(folder: Path) -> Iterator[Served]:
    """Every request of a log, in the order each process logged them; a torn end is left out."""
    return map(row_to_served, read_rows(folder))


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples that records hold."""
    return {name: _tuple(value) for name, value in values.items()}


def _tuple(value: Any) -> Any:
    if isinstance(value, dict):
        return _with_tuples(value)
    return tuple(value) if isinstance(value, list) else value
