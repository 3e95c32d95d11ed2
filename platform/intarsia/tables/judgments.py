"""The tables `queries` (the judged set, with its split) and `judgments`, and record <-> row."""

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
    """A row of `queries`."""
    return dataclasses.asdict(query)


def row_to_query(row: Mapping[str, Any]) -> JudgedQuery:
    """The record of a row of `queries`."""
    return JudgedQuery(**row)


def judgment_to_row(judgment: Judgment) -> dict[str, Any]:
    """A row of `judgments`."""
    return dataclasses.asdict(judgment)


def row_to_judgment(row: Mapping[str, Any]) -> Judgment:
    """The record of a row of `judgments`."""
    return Judgment(**row)
