"""The tables `queries` (the judged queries) and `judgments`, and conversion between record and row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from intarsia.records.judgment import JudgedQuery, Judgment
from intarsia.tables.schema import TableSpec

QUERIES = TableSpec(
    name="queries",
    version=1,
    schema=pa.schema(
        [
            ("query_id", pa.string()),
            ("text", pa.string()),
            ("image", pa.binary()),
            ("locale", pa.string()),
            ("split", pa.string()),
        ]
    ),
)

JUDGMENTS = TableSpec(
    name="judgments",
    version=1,
    schema=pa.schema(
        [
            ("query_id", pa.string()),
            ("product_id", pa.string()),
            ("grade", pa.float64()),
            ("source", pa.string()),
            ("weight", pa.float64()),
        ]
    ),
)


def query_to_row(query: JudgedQuery) -> dict[str, Any]:
    """Convert a judged query to a row of `queries`."""
    return dataclasses.asdict(query)


def row_to_query(row: Mapping[str, Any]) -> JudgedQuery:
    """Convert a row of `queries` to a judged query."""
    return JudgedQuery(**row)


def judgment_to_row(judgment: Judgment) -> dict[str, Any]:
    """Convert a judgment to a row of `judgments`."""
    return dataclasses.asdict(judgment)


def row_to_judgment(row: Mapping[str, Any]) -> Judgment:
    """Convert a row of `judgments` to a judgment."""
    return Judgment(**row)
