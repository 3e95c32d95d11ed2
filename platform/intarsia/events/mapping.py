"""Which column of an events file is what. Applying it is `clean`'s matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from intarsia.config import setting
from intarsia.records.event import EVENT_KINDS, Event

_EVENT_FIELDS = tuple(field.name for field in fields(Event))
_MAY_BE_CONSTANT = ("request_id", "release_id", "kind", "received_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMapping:
    """Event field -> column; a field that is not named has its own name as column, so a file in our own form needs nothing."""

    columns: Mapping[str, str] = setting("event field -> column of the file", factory=dict)
    kinds: Mapping[str, str] = setting(
        "kind as the file says it -> our kind, for example {pv: view, buy: purchase}", factory=dict
    )
    constants: Mapping[str, str] = setting(
        "event field -> value where the file has none: request_id, release_id, kind; `received_at: occurred_at` copies that time",
        factory=dict,
    )
    time_unit: Literal["auto", "s", "ms"] = setting(
        "unit of times given as numbers since 1970; auto: ms above 100,000,000,000", "auto"
    )

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in _EVENT_FIELDS:
                raise ValueError(f"columns.{name} is no field of an event; allowed: {', '.join(_EVENT_FIELDS)}")
        for name in self.constants:
            if name not in _MAY_BE_CONSTANT:
                raise ValueError(f"constants.{name} cannot be constant; allowed: {', '.join(_MAY_BE_CONSTANT)}")
        for told, kind in self.kinds.items():
            if kind not in EVENT_KINDS:
                raise ValueError(f"kinds.{told} is {kind!r}; allowed: {', '.join(EVENT_KINDS)}")
        if self.constants.get("received_at", "occurred_at") != "occurred_at":
            raise ValueError(f"constants.received_at is {self.constants['received_at']!r}; allowed: occurred_at")

    def column(self, field: str) -> str:
        """The column of an event field."""
        return self.columns.get(field, field)
