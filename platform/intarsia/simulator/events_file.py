"""Writes the shoppers' acts as a log of the shop, with the lines that a log has and should not have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from intarsia.simulator.config import MarketConfig
from intarsia.simulator.random_streams import stream
from intarsia.simulator.shoppers import Visit, utc
from intarsia.simulator.truth import product_id

_Row = dict[str, Any]
RELEASE_ID = "generated"


def _replace(**values: object) -> Callable[[_Row], None]:
    return lambda row: row.update(values)


def _swap_times(row: _Row) -> None:
    row["occurred_at"], row["received_at"] = row["received_at"], row["occurred_at"]


ROTTEN_EVENT_KINDS: dict[str, Callable[[_Row], None]] = {
    "unknown_product": _replace(product_id="P-GONE"),
    "negative_dwell": _replace(dwell_ms=-4000),
    "unknown_kind": _replace(kind="hover"),
    "occurred_after_received": _swap_times,
    "bad_position": _replace(position=0),
    "bad_time": _replace(occurred_at="yesterday"),
    "missing_event_id": lambda row: row.pop("event_id"),
    "broken_json": lambda row: None,
}
"""Kind -> what it does to a line of events.jsonl (`broken_json` cuts the line itself)."""


def event_lines(visits: Iterable[Visit], config: MarketConfig) -> Iterator[tuple[bytes, str | None, str]]:
    """(line without its end, fault or None, event_id) in the order of the log; a fault is a kind of above or `duplicate_event`."""
    num_events = num_rotten = 0
    for number, visit in enumerate(visits):
        rng = stream(config.seed, "event faults", number)
        again: list[tuple[bytes, str]] = []
        for act in visit.acts:
            row: _Row = {
                "event_id": f"e{num_events:08d}",
                "request_id": visit.request_id,
                "release_id": RELEASE_ID,
                "session_id": visit.session_id,
                "user_id": visit.user_id,
                "kind": act.kind,
                "product_id": product_id(act.product),
                "position": act.position,
                "value": act.value,
                "dwell_ms": act.dwell_ms,
                "occurred_at": utc(act.occurred_ms),
                "received_at": utc(act.received_ms),
            }
            num_events += 1
            line = json.dumps(row).encode()
            yield line, None, row["event_id"]
            chance = rng.random()
            if chance < config.share_repeated_events:
                again.append((line, row["event_id"]))
            elif chance < config.share_repeated_events + config.share_rotten_events:
                kind = list(ROTTEN_EVENT_KINDS)[num_rotten % len(ROTTEN_EVENT_KINDS)]
                num_rotten += 1
                yield _rotten(kind, {**row, "event_id": f"x{num_rotten:08d}"}), kind, f"x{num_rotten:08d}"
        for line, event_id in again:
            yield line, "duplicate_event", event_id


def _rotten(kind: str, row: _Row) -> bytes:
    ROTTEN_EVENT_KINDS[kind](row)
    line = json.dumps(row).encode()
    return line[: len(line) // 2] if kind == "broken_json" else line
