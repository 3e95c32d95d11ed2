"""A raw row to an Event, or to the reason why not. Repeated events are `settle`'s matter; reading files is not this room's."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from intarsia.events.mapping import EventMapping
from intarsia.ids import EventId, ProductId, ReleaseId, RequestId
from intarsia.records.event import EVENT_KINDS, Event

_MS_ABOVE = 1e11  # as seconds this is the year 5138; as milliseconds 1973
_YEAR_MIN, _YEAR_MAX = 1970, 2200
_FOUND_CHARS = 200


class EventReason(StrEnum):
    """Reason codes of `rejected_events`; a row that cannot be read at all has the code of its file format."""

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
    """One refused event: where it stood, what was wrong with it, and how to mend it."""

    file: str
    row: int
    key: str
    field: str
    reason: str
    found: str
    fix: str


class _Fault(Exception):
    def __init__(self, reason: EventReason, field: str, found: object, fix: str) -> None:
        super().__init__(reason.value)
        self.reason, self.field, self.found, self.fix = reason, field, found, fix


class EventCleaner:
    """Applies one mapping; `products` are the ids of the catalog, since an event on anything else teaches nothing."""

    def __init__(self, mapping: EventMapping, products: Container[str]) -> None:
        self._mapping, self._products = mapping, products

    def clean(self, file: str, row: int, raw: Mapping[str, Any]) -> Event | EventReject:
        """The event of a row, or why there is none."""
        key = ""
        try:
            key = self._text(raw, "event_id")
            return self._event(raw, key)
        except _Fault as fault:
            found = fault.found if isinstance(fault.found, str) else repr(fault.found)
            return EventReject(
                file=file,
                row=row,
                key=key,
                field=fault.field,
                reason=fault.reason.value,
                found=found[:_FOUND_CHARS],
                fix=fault.fix,
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
            raise _Fault(EventReason.RECEIVED_BEFORE_OCCURRED, "received_at", found, fix)
        if product_id not in self._products:
            fix = "name a product of the catalog (it may be in rejected_products)"
            raise _Fault(EventReason.PRODUCT_UNKNOWN, "product_id", product_id, fix)
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
                raise _Fault(EventReason.FIELD_MISSING, field, "nothing", "every event needs it")
            return ""
        if isinstance(cell, bool) or not isinstance(cell, str | int):
            raise _Fault(EventReason.WRONG_TYPE, field, cell, "give text or a whole number")
        return str(cell).strip()

    def _kind(self, raw: Mapping[str, Any]) -> str:
        told = self._text(raw, "kind")
        kind = self._mapping.kinds.get(told, told)
        if kind not in EVENT_KINDS:
            raise _Fault(
                EventReason.KIND_UNKNOWN, "kind", told, f"use one of {', '.join(EVENT_KINDS)}, or map it in kinds"
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
            raise _Fault(EventReason.WRONG_TYPE, field, cell, f"give a number: {allowed}")
        if not is_allowed(number):
            raise _Fault(reason, field, cell, f"give a number: {allowed}")
        return number

    def _time(self, raw: Mapping[str, Any], field: str) -> datetime:
        cell = self._cell(raw, field)
        if cell is None:
            raise _Fault(EventReason.FIELD_MISSING, field, "nothing", "every event needs it")
        try:
            found = _as_time(cell, self._mapping.time_unit)
        except (ValueError, OverflowError, OSError):
            found = None
        if found is None or not _YEAR_MIN <= found.year <= _YEAR_MAX:
            fix = "write it as 2024-05-31T12:00:00Z, or seconds or ms since 1970"
            raise _Fault(EventReason.DATE_UNPARSABLE, field, cell, fix)
        return found


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
    found = datetime.fromisoformat(cell.strip())
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
