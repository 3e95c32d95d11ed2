"""Visits of the judged shop, as a log of served requests and their events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from intarsia.ids import EventId, ProductId, ReleaseId, RequestId
from intarsia.lake import Lake
from intarsia.records.event import Event, EventKind
from intarsia.records.query import Query
from intarsia.records.served import IMAGE_NOT_STORED, ServedRequest
from intarsia.tables.events import EVENTS, event_to_row
from intarsia.tables.segments import SegmentWriter, encode_line
from intarsia.tables.served_requests import served_to_row

MONDAY = datetime(2026, 5, 4, tzinfo=UTC)
Visit = tuple[str, Sequence[str], Sequence[str]]
"""(query text, products shown, products clicked)."""


def fill_with_visits(lake: Lake, visits: Sequence[Visit], *, with_image: bool = False) -> Lake:
    """Publish one visit per day from Monday on; every shown product is also an impression."""
    writer = SegmentWriter(lake.root / "served")
    events: list[Event] = []
    for day, (text, shown, clicked) in enumerate(visits):
        at = MONDAY + timedelta(days=day)
        query = Query(
            request_id=RequestId(f"r{day}"),
            text=text,
            image=IMAGE_NOT_STORED if with_image else None,
            asked_at=at,
        )
        page = tuple((position, ProductId(product)) for position, product in enumerate(shown, start=1))
        writer.append(encode_line(served_to_row(ServedRequest(query=query, release_id=ReleaseId("r"), shown=page))))
        kinds: list[tuple[EventKind, str]] = [("impression", product) for product in shown]
        kinds += [("click", product) for product in clicked]
        events += [
            Event(
                event_id=EventId(f"e{day}-{n}"),
                request_id=query.request_id,
                release_id=ReleaseId("r"),
                kind=kind,
                product_id=ProductId(product),
                occurred_at=at,
                received_at=at,
            )
            for n, (kind, product) in enumerate(kinds)
        ]
    writer.close()
    EVENTS.publish(lake, EVENTS.from_rows([event_to_row(event) for event in events]))
    return lake
