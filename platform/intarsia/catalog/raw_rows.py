"""One record of a raw file as a row: JSON object, CSV fields, or why it cannot be read.

Where records begin and end is `records_in_bytes`' matter, what the columns mean `clean`'s.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from intarsia.catalog.validate import Reason, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """A row that cannot be read."""

    reason: Reason
    found: str
    fix: str


class RawRow(NamedTuple):
    """A row by its number in the file (from 1): columns by name, or why it cannot be read."""

    number: int
    value: Mapping[str, Any] | Defect


def json_object(record: bytes, encoding: str) -> Mapping[str, Any] | Defect:
    """The object of one JSONL line."""
    try:
        text = record.decode(encoding).strip()
    except UnicodeDecodeError:
        return Defect(
            reason=Reason.NOT_UTF8, found=shown(record), fix=f"save the file in {encoding}, or set file.encoding"
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return Defect(reason=Reason.BROKEN_JSON, found=shown(text), fix="write one whole JSON object per line")
    if not isinstance(value, dict):
        return Defect(
            reason=Reason.WRONG_TYPE, found=shown(text), fix="write one JSON object per line, with the columns as keys"
        )
    return value


def csv_fields(record: bytes, encoding: str, delimiter: str, quote: str) -> list[str] | Defect:
    """The fields of one CSV record."""
    try:
        text = record.decode(encoding)
    except UnicodeDecodeError:
        return Defect(
            reason=Reason.NOT_UTF8, found=shown(record), fix=f"save the file in {encoding}, or set file.encoding"
        )
    if not quote:
        return text.rstrip("\r\n").split(delimiter)
    try:
        rows = list(csv.reader([text], delimiter=delimiter, quotechar=quote, strict=True))
    except csv.Error:
        return Defect(
            reason=Reason.UNCLOSED_QUOTE,
            found=shown(text),
            fix="close the quote, or double the quotes inside the field",
        )
    return rows[0] if rows else []
