"""Clean raw event rows: map their columns, and turn each row into an `Event` or a reject with its reason.

Repeated events: see `dedupe.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

from intarsia.config import setting
from intarsia.ids import EventId, ProductId, ReleaseId, RequestId
from intarsia.records.event import EVENT_KINDS, Event

_MS_ABOVE = 1e11  # as seconds this is the year 5138; as milliseconds 1973
_YEAR_MIN, _YEAR_MAX = 1970, 2200
_EXCERPT_CHARS = 200
_EVENT_FIELDS = tuple(field.name for field in fields(Event))
_MAY_BE_CONSTANT = ("request_id", "release_id", "kind", "received_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMapping:
    """Maps the columns of an events file to event fields; an unmapped field is read from the column of its name."""

    columns: Mapping[str, str] = setting("event field -> column of the file", factory=dict)
    kinds: Mapping[str, str] = setting(
        "kind in the file -> event kind, for example {pv: view, buy: purchase}", factory=dict
    )
    constants: Mapping[str, str] = setting(
        "event field -> value where the file has none: request_id, release_id, kind; "
        "`received_at: occurred_at` copies that time",
        factory=dict,
    )
    time_unit: Literal["auto", "s", "ms"] = setting(
        "unit of times given as numbers since 1970; auto: ms above 100,000,000,000", "auto", advanced=True
    )

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in _EVENT_FIELDS:
                raise ValueError(f"columns.{name} is not a field of an event; allowed: {', '.join(_EVENT_FIELDS)}")
        for name in self.constants:
            if name not in _MAY_BE_CONSTANT:
                raise ValueError(f"constants.{name} cannot be constant; allowed: {', '.join(_MAY_BE_CONSTANT)}")
        for file_kind, kind in self.kinds.items():
            if kind not in EVENT_KINDS:
                raise ValueError(f"kinds.{file_kind} is {kind!r}; allowed: {', '.join(EVENT_KINDS)}")
        if self.constants.get("received_at", "occurred_at") != "occurred_at":
            raise ValueError(f"constants.received_at is {self.constants['received_at']!r}; allowed: occurred_at")

    def column(self, field: str) -> str:
        """The column of an event field."""
        return self.columns.get(field, field)


class EventReason(StrEnum):
    """Reason codes of `rejected_events`; a row that cannot be read has a code of `catalog.rejects.Reason`."""

    FIELD_MISSING = "field_missing"
    WRONG_TYPE = "wrong_type"
    KIND_UNKNOWN = "kind_unknown"
    POSITION_INVALID = "position_invalid"
    VALUE_INVALID = "value_invalid"
    DWELL_INVALID = "dwell_invalid"
    DATE_UNPARSABLE = "date_unparsable"
    RECEIVED_BEFORE_OCCURRED = "received_before_occurred"
    PRODUCT_UNKNOWN = "product_unknown"
    DUPLICATE_EVENT = "duplicate_event"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventReject:
    """A rejected event: its position, what was found, and the fix."""

    file: str
    row: int
    key: str
    field: str
    reason: str
    found: str
    fix: str


class _FieldError(Exception):
    def __init__(self, reason: EventReason, field: str, found: object, fix: str) -> None:
        super().__init__(reason.value)
        self.reason, self.field, self.found, self.fix = reason, field, found, fix


class EventCleaner:
    """Cleans rows by one mapping; an event on a product that is not in `products` (ids of the catalog) is rejected."""

    def __init__(self, mapping: EventMapping, products: Container[str]) -> None:
        self._mapping, self._products = mapping, products

    def clean(self, file: str, row: int, raw: Mapping[str, Any]) -> Event | EventReject:
        """Clean row number `row` of `file`."""
        key = ""
        try:
            key = self._text(raw, "event_id")
            return self._event(raw, key)
        except _FieldError as error:
            found = error.found if isinstance(error.found, str) else repr(error.found)
            return EventReject(
                file=file,
                row=row,
                key=key,
                field=error.field,
                reason=error.reason.value,
                found=found[:_EXCERPT_CHARS],
                fix=error.fix,
            )

    def _event(self, raw: Mapping[str, Any], event_id: str) -> Event:
        product_id = self._text(raw, "product_id")
        kind = self._kind(raw)
        position = self._number(raw, "position", EventReason.POSITION_INVALID, "whole, 1 or more", _is_position)
        value = self._number(raw, "value", EventReason.VALUE_INVALID, "a finite number", math.isfinite)
        dwell_ms = self._number(raw, "dwell_ms", EventReason.DWELL_INVALID, "whole milliseconds, 0 or more", _is_dwell)
        occurred_at = self._time(raw, "occurred_at")
        received_at = occurred_at if "received_at" in self._mapping.constants else self._time(raw, "received_at")
        if occurred_at > received_at:
            found, fix = f"{occurred_at} after {received_at}", "set the clock of the sender"
            raise _FieldError(EventReason.RECEIVED_BEFORE_OCCURRED, "received_at", found, fix)
        if product_id not in self._products:
            fix = "name a product of the catalog (it may be in rejected_products)"
            raise _FieldError(EventReason.PRODUCT_UNKNOWN, "product_id", product_id, fix)
        return Event(
            event_id=EventId(event_id),
            request_id=RequestId(self._text(raw, "request_id")),
            release_id=ReleaseId(self._text(raw, "release_id", is_required=False)),
            kind=kind,  # type: ignore[arg-type]  # checked against EVENT_KINDS
            product_id=ProductId(product_id),
            position=None if position is None else int(position),
            value=value,
            dwell_ms=None if dwell_ms is None else int(dwell_ms),
            user_id=self._text(raw, "user_id", is_required=False) or None,
            session_id=self._text(raw, "session_id", is_required=False) or None,
            occurred_at=occurred_at,
            received_at=received_at,
        )

    def _cell(self, raw: Mapping[str, Any], field: str) -> Any:
        cell = raw.get(self._mapping.column(field))
        is_blank = cell is None or (isinstance(cell, str) and not cell.strip()) or cell != cell  # NaN
        return self._mapping.constants.get(field) if is_blank else cell

    def _text(self, raw: Mapping[str, Any], field: str, *, is_required: bool = True) -> str:
        cell = self._cell(raw, field)
        if cell is None:
            if is_required:
                raise _FieldError(EventReason.FIELD_MISSING, field, "nothing", "every event needs it")
            return ""
        if isinstance(cell, bool) or not isinstance(cell, str | int):
            raise _FieldError(EventReason.WRONG_TYPE, field, cell, "give text or a whole number")
        return str(cell).strip()

    def _kind(self, raw: Mapping[str, Any]) -> str:
        file_kind = self._text(raw, "kind")
        kind = self._mapping.kinds.get(file_kind, file_kind)
        if kind not in EVENT_KINDS:
            raise _FieldError(
                EventReason.KIND_UNKNOWN, "kind", file_kind, f"use one of {', '.join(EVENT_KINDS)}, or map it in kinds"
            )
        return kind

    def _number(
        self, raw: Mapping[str, Any], field: str, reason: EventReason, allowed: str, is_allowed: Callable[[float], bool]
    ) -> float | None:
        cell = self._cell(raw, field)
        if cell is None:
            return None
        number = _as_number(cell)
        if number is None:
            raise _FieldError(EventReason.WRONG_TYPE, field, cell, f"give a number: {allowed}")
        if not is_allowed(number):
            raise _FieldError(reason, field, cell, f"give a number: {allowed}")
        return number

    def _time(self, raw: Mapping[str, Any], field: str) -> datetime:
        cell = self._cell(raw, field)
        if cell is None:
            raise _FieldError(EventReason.FIELD_MISSING, field, "nothing", "every event needs it")
        try:
            time = _as_time(cell, self._mapping.time_unit)
        except (ValueError, OverflowError, OSError):
            time = None
        if time is None or not _YEAR_MIN <= time.year <= _YEAR_MAX:
            fix = "write it as 2024-05-31T12:00:00Z, or seconds or ms since 1970"
            raise _FieldError(EventReason.DATE_UNPARSABLE, field, cell, fix)
        return time


def _is_position(number: float) -> bool:
    return number.is_integer() and 1 <= number < 2**31


def _is_dwell(number: float) -> bool:
    return number.is_integer() and 0 <= number < 2**53


def _as_number(cell: object) -> float | None:
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None


def _as_time(cell: object, unit: str) -> datetime | None:
    if isinstance(cell, datetime):
        return cell.replace(tzinfo=UTC) if cell.tzinfo is None else cell.astimezone(UTC)
    number = _as_number(cell)
    if number is not None:
        is_ms = unit == "ms" or (unit == "auto" and abs(number) > _MS_ABOVE)
        return datetime.fromtimestamp(number / 1000 if is_ms else number, UTC)
    if not isinstance(cell, str):
        return None
    time = datetime.fromisoformat(cell.strip())
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
