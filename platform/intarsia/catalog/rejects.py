"""Rejected rows and values of a catalog: reason codes, table rows, and the limit on dropped rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from intarsia.errors import DataError
from intarsia.image import ImageFault

_EXCERPT_CHARS = 200  # enough to recognise the value; the file still holds the whole of it


class Reason(StrEnum):
    """Reason codes of `rejected_products`; `image.ImageFault` holds further ones for images."""

    BROKEN_JSON = "broken_json"
    NOT_UTF8 = "not_utf8"
    UNCLOSED_QUOTE = "unclosed_quote"
    WRONG_NUMBER_OF_FIELDS = "wrong_number_of_fields"
    WRONG_TYPE = "wrong_type"
    ID_MISSING = "id_missing"
    ID_TOO_LONG = "id_too_long"
    DUPLICATE_ID = "duplicate_id"
    TITLE_MISSING = "title_missing"
    TITLE_TOO_LONG = "title_too_long"
    DESCRIPTION_PLACEHOLDER = "description_placeholder"
    DESCRIPTION_TOO_LONG = "description_too_long"
    CATEGORY_MISSING = "category_missing"
    PRICE_NEGATIVE = "price_negative"
    PRICE_UNPARSABLE = "price_unparsable"
    CURRENCY_UNKNOWN = "currency_unknown"
    DATE_UNPARSABLE = "date_unparsable"
    LOCALE_UNKNOWN = "locale_unknown"
    STOCK_UNPARSABLE = "stock_unparsable"
    IMAGE_OUTSIDE = "image_outside"
    IMAGE_REPEATED = "image_repeated"
    IMAGE_TOO_MANY = "image_too_many"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A rejected row or value: its position, what was found, and the fix.

    `dropped` is true when the whole row was dropped, false when the product was kept without the value.
    """

    file: str
    row: int
    key: str
    field: str
    reason: Reason | ImageFault
    found: str
    fix: str
    dropped: bool

    def to_row(self) -> dict[str, Any]:
        """Convert to a row of `rejected_products`."""
        return {**asdict(self), "reason": self.reason.value}


class RowError(Exception):
    """A row must be dropped. Raised by the parsers and caught by `RowCleaner`; users never see it."""

    def __init__(self, reason: Reason, field: str, found: object, fix: str) -> None:
        super().__init__(f"{field}: {reason.value}")
        self.reason, self.field, self.found, self.fix = reason, field, excerpt(found), fix


def excerpt(value: object) -> str:
    """Show a value in at most 200 characters: text as it is, anything else by its `repr`.

    >>> excerpt(["a", 1])
    "['a', 1]"
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = value if isinstance(value, str) else repr(value)
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")  # JSON can carry half a surrogate pair, tables cannot
    return text if len(text) <= _EXCERPT_CHARS else text[: _EXCERPT_CHARS - 1] + "…"


def check_dropped_share(
    num_rows: int, dropped: Mapping[str, int], max_share: float, *, table: str, rejected_at: str
) -> None:
    """Stop the job when more rows were dropped than the configuration allows.

    Args:
        num_rows: number of input rows.
        dropped: number of dropped rows by reason code.
        max_share: 0..1; a share equal to it passes.
        table: the table that was being written.
        rejected_at: where the rejected rows can be read.

    Raises:
        DataError: the share is above `max_share`; the message names the most frequent reason.
    """
    num_dropped = sum(dropped.values())
    if num_dropped <= max_share * num_rows:
        return
    worst, count = max(dropped.items(), key=lambda item: (item[1], item[0]))
    raise DataError(
        table=table,
        field="dropped rows",
        found=f"{num_dropped} of {num_rows} ({num_dropped / num_rows:.1%}), most of them {worst} ({count})",
        allowed=f"max_rejected_share {max_share:g}",
        fix=f"look at reason {worst} in {rejected_at}, correct the file or its mapping, or raise max_rejected_share",
    )
