"""POST /v1/events: acknowledged events are on disk, invalid ones are reported by the path of their field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from intarsia.events.journal import read_events


def click(**changes: Any) -> dict[str, Any]:
    return {
        "event_id": "e1",
        "request_id": "r1",
        "release_id": "r-1",
        "kind": "click",
        "product_id": "红/p",
        "position": 3,
        **changes,
    }


def ids_in_journal(journal: Path, *event_ids: str) -> list[str]:
    return [event.event_id for event in read_events(journal) if event.event_id in event_ids]


def test_one_event_is_on_disk_when_it_is_acknowledged(http: TestClient, journal: Path) -> None:
    reply = http.post("/v1/events", json=click(event_id="one"))
    assert (reply.status_code, reply.json()) == (202, {"accepted": 1, "rejected": []})
    assert ids_in_journal(journal, "one") == ["one"]


def test_valid_events_of_a_list_are_stored_and_invalid_ones_reported(http: TestClient, journal: Path) -> None:
    sent = [
        click(event_id="a"),
        click(event_id="b", position=0),
        click(event_id="c", kind="stare"),
        click(event_id="d"),
    ]
    reply = http.post("/v1/events", json=sent)
    assert reply.status_code == 202
    assert reply.json()["accepted"] == 2
    assert [(p["index"], p["field"]) for p in reply.json()["rejected"]] == [(1, "[1].position"), (2, "[2].kind")]
    assert ids_in_journal(journal, "a", "b", "c", "d") == ["a", "d"]


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ([], "body", "found no events"),
        (7, "body", "an object"),
        ([7], "[0]", "an object"),
        (click(event_id=""), "event_id", "at least 1"),
        (click(dwell_ms=-1), "dwell_ms", "greater than or equal to 0"),
        (click(occurred_at="2026-01-01T00:00:00"), "occurred_at", "timezone"),
        (click(mood="good"), "mood", "not permitted"),
        ([click(position="3")], "[0].position", "valid integer"),
    ],
)
def test_a_wrong_event_is_refused_by_its_path(http: TestClient, body: Any, field: str, words: str) -> None:
    reply = http.post("/v1/events", json=body)
    assert (reply.status_code, reply.json()["error"]["field"]) == (422, field)
    assert words in reply.json()["error"]["message"]


def test_a_clock_a_little_ahead_is_set_back_and_one_far_ahead_refused(http: TestClient, journal: Path) -> None:
    soon, later = (datetime.now(UTC) + timedelta(minutes=minutes) for minutes in (1, 60))
    assert http.post("/v1/events", json=click(event_id="soon", occurred_at=soon.isoformat())).status_code == 202
    event = next(event for event in read_events(journal) if event.event_id == "soon")
    assert event.occurred_at == event.received_at < soon
    reply = http.post("/v1/events", json=click(event_id="later", occurred_at=later.isoformat()))
    assert (reply.status_code, reply.json()["error"]["field"]) == (422, "occurred_at")
    assert "is in the future" in reply.json()["error"]["message"]


def test_more_events_than_allowed_are_all_refused(http: TestClient) -> None:
    reply = http.post("/v1/events", json=[click(event_id=f"m{i}") for i in range(501)])
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")


def test_a_number_that_json_does_not_have_is_refused(http: TestClient) -> None:
    reply = http.post("/v1/events", content=b'{"value": Infinity}')
    assert (reply.status_code, reply.json()["error"]["field"]) == (422, "body")
    assert "not JSON" in reply.json()["error"]["message"]
