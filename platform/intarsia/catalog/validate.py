"""Why a row or a part of it is refused: the reason codes, the row of the rejected table, and the share at which a run stops.

What is checked where is told by `sources` (can the row be read) and `clean` (does it say what it must).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from intarsia.errors import DataError
from intarsia.image import ImageFault

_FOUND_CHARS = 200  # enough to recognise the value; the file still holds the whole of it


class Reason(StrEnum):
    """Reason codes of `rejected_products`; those of pictures are `image.ImageFault` and the three at the end."""

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
    """One thing that was refused, where it stood, and how to mend it; `lost` tells whether the whole row is gone with it."""

    file: str
    row: int
    key: str
    field: str
    reason: Reason | ImageFault
    found: str
    fix: str
    lost: bool

    def to_row(self) -> dict[str, Any]:
        """A row of `rejected_products`."""
        return {**asdict(self), "reason": self.reason.value}


class RowFault(Exception):
    """A row is lost: raised where the fault is seen, caught by the cleaner of the row, never by a user."""

    def __init__(self, reason: Reason, field: str, found: object, fix: str) -> None:
        super().__init__(f"{field}: {reason.value}")
        self.reason, self.field, self.found, self.fix = reason, field, shown(found), fix


def shown(value: object) -> str:
    """A value as the rejected table shows it: text as it is, all else as Python writes it, cut to 200 characters."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = value if isinstance(value, str) else repr(value)
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")  # JSON can carry half a surrogate pair, tables cannot
    return text if len(text) <= _FOUND_CHARS else text[: _FOUND_CHARS - 1] + "…"


def check_share(num_rows: int, lost: Mapping[str, int], max_share: float, *, table: str, rejected_at: str) -> None:
    """Stop when more rows are lost than the configuration allows.

    Args:
        num_rows: input rows.
        lost: lost rows by reason code.
        max_share: 0..1; a share equal to it passes.
        table: what was to be written.
        rejected_at: where the rejected rows can be read.

    Raises:
        DataError: the share is above `max_share`; names the reason that ate most.
    """
    num_lost = sum(lost.values())
    if num_lost <= max_share * num_rows:
        return
    worst, count = max(lost.items(), key=lambda item: (item[1], item[0]))
    raise DataError(
        table=table,
        field="lost rows",
        found=f"{num_lost} of {num_rows} ({num_lost / num_rows:.1%}), most of them {worst} ({count})",
        allowed=f"max_rejected_share {max_share:g}",
        fix=f"look at reason {worst} in {rejected_at}, correct the file or its mapping, or raise max_rejected_share",
    )
