"""Parsers of single cells of a raw row: look a cell up by column name; read it as text, list, boolean or time."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

from selectolax.lexbor import LexborHTMLParser

from intarsia.catalog.rejects import Reason, RowError
from intarsia.text import clean, fold

_MARKUP = re.compile(r"<(?:[a-zA-Z][a-zA-Z0-9]*[\s/>]|/[a-zA-Z]|!--)")
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*);")
_BLOCK_TAG = re.compile(
    r"<(?=/?(?:p|div|br|li|ul|ol|dl|dt|dd|tr|td|th|table|h[1-6]|section|article|blockquote|hr|pre)\b)", re.IGNORECASE
)
_YES = frozenset({"1", "true", "yes", "y", "in stock", "instock", "in_stock", "available", "有货", "现货", "有", "是"})
_NO = frozenset(
    {"0", "false", "no", "n", "out of stock", "outofstock", "out_of_stock", "sold out", "unavailable"}
    | {"无货", "缺货", "售罄", "无", "否"}
)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_MS_ABOVE = 1e11  # as seconds this is the year 5138; as milliseconds 1973
_YEAR_MIN, _YEAR_MAX = 1970, 2200
_SLASHED_DATE = re.compile(r"^(\d{4})/(\d{1,2})/(\d{1,2})(?=\D|$)")


def get_cell(raw: Mapping[str, Any], column: str) -> Any:
    """Look up the cell of a column; None when it is missing.

    `a.b` is key b of the object in column a, unless a column is itself named `a.b`.

    >>> get_cell({"spec": {"year": 2020}}, "spec.year")
    2020
    """
    if column in raw:
        return raw[column]
    value: Any = raw
    for name in column.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def is_blank(value: object) -> bool:
    """Whether a cell is empty: null, NaN, blank text, or an empty list or object."""
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, list | tuple | dict) and not value


def plain_text(text: str, html_: Literal["auto", "yes", "no"] = "auto") -> str:
    """Convert HTML to plain text, then apply `text.clean`.

    Scripts, styles and comments are removed. Block tags separate words, inline tags do not.

    Args:
        text: HTML or plain text.
        html_: whether `text` is HTML; "auto": it is when it holds a tag. Entities are resolved unless "no".

    >>> plain_text("<p>Red&nbsp;<b>mug</b></p><p>350 ml</p>")
    'Red mug 350 ml'
    """
    if html_ == "yes" or (html_ == "auto" and _MARKUP.search(text)):
        tree = LexborHTMLParser(_BLOCK_TAG.sub(" <", text))
        tree.strip_tags(["script", "style", "noscript", "template"], recursive=True)
        text = tree.text(separator="")
    elif html_ == "auto" and _ENTITY.search(text):
        text = html.unescape(text)
    return clean(text)


def parse_text(value: object, field: str) -> str:
    """Read a cell that must be text; "" when it is blank.

    Raises:
        RowError: WRONG_TYPE when it is not text.
    """
    if is_blank(value):
        return ""
    if not isinstance(value, str):
        raise RowError(Reason.WRONG_TYPE, field, value, "give text")
    return value


def parse_id(value: object, field: str) -> str:
    """Read a cell that must be an id (text or a whole number); "" when it is blank.

    Raises:
        RowError: WRONG_TYPE for anything else.
    """
    if is_blank(value):
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(Reason.WRONG_TYPE, field, value, "give text or a whole number")
    return clean(str(value))


def parse_values(value: object, separators: Iterable[str], field: str) -> list[str]:
    """Read the values of an attribute's cell as clean texts, in order, without blank ones.

    Each entry of a list is a value. Text is split at every separator. Booleans become "yes" and "no"; whole floats lose
    their ".0".

    Raises:
        RowError: WRONG_TYPE for an object.
    """
    if is_blank(value):
        return []
    if isinstance(value, list | tuple):
        return [text for entry in value for text in parse_values(entry, separators, field)]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int | float | Decimal | date):
        return [str(value)]
    if not isinstance(value, str):
        raise RowError(Reason.WRONG_TYPE, field, value, "give text, a number, a boolean or a list of them")
    parts = [value]
    for separator in separators:
        parts = [text for part in parts for text in part.split(separator)]
    return [text for part in parts if (text := plain_text(part))]


def parse_bool(value: object, field: str) -> bool | None:
    """Read a stock cell as a boolean: true, a count above 0, or a phrase such as `in stock` or 有货; None when blank.

    Raises:
        RowError: STOCK_UNPARSABLE when it is none of the known values.
    """
    if is_blank(value):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return value > 0
    if isinstance(value, str):
        text = fold(value)
        if _NUMBER.fullmatch(text):
            return float(text) > 0
        if text in _YES or text in _NO:
            return text in _YES
    fix = "give a count, true or false, or `in stock` or `out of stock`"
    raise RowError(Reason.STOCK_UNPARSABLE, field, value, fix)


def parse_time(value: object, unit: Literal["auto", "s", "ms"], field: str) -> datetime | None:
    """Read a time in UTC from ISO 8601 text (UTC when it has no zone), a date, or a number since 1970; None when blank.

    Raises:
        RowError: DATE_UNPARSABLE when it is not a time, or outside the years 1970..2200.
    """
    if is_blank(value):
        return None
    try:
        time = _time(value, unit)
    except (ValueError, OverflowError, OSError):
        time = None
    if time is None or not _YEAR_MIN <= time.year <= _YEAR_MAX:
        raise RowError(
            Reason.DATE_UNPARSABLE, field, value, "write it as 2024-05-31T12:00:00Z, or seconds or ms since 1970"
        )
    return time


def _time(value: object, unit: str) -> datetime | None:
    if isinstance(value, datetime):
        time = value
    elif isinstance(value, date):
        time = datetime(value.year, value.month, value.day)
    elif isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        time = datetime.fromisoformat(_SLASHED_DATE.sub(_with_dashes, value.strip()))
    elif isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    else:
        number = float(value)
        is_ms = unit == "ms" or (unit == "auto" and abs(number) > _MS_ABOVE)
        return datetime.fromtimestamp(number / 1000 if is_ms else number, UTC)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _with_dashes(match: re.Match[str]) -> str:
    year, month, day = match.groups()
    return f"{year}-{int(month):02d}-{int(day):02d}"
