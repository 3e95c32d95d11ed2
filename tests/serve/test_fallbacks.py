"""A step that is late or disabled is replaced by its fallback, and `degraded` names it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from intarsia.lake import Lake
from serve_apps.app import open_api
from serve_apps.service.releases import IngressRelease, ReleaseCache
from serve_apps.settings import Budgets, ServingConfig
from tests.full_disk import run_on_a_full_disk
from tests.serve.conftest import PATIENT
from tests.shop import make_image

Opener = Callable[..., TestClient]


@pytest.fixture
def http_with(shop: Lake, releases: ReleaseCache[IngressRelease], tmp_path: Path) -> Iterator[Opener]:
    """Clients of applications with other budgets."""
    with ExitStack() as stack:

        def opened(**budgets: int) -> TestClient:
            patient = {name: getattr(PATIENT, name) for name in PATIENT.__dataclass_fields__}
            config = ServingConfig(
                lake=shop.root, journal=tmp_path, budgets=Budgets(**(patient | budgets)), refresh_s=0.0
            )
            return stack.enter_context(TestClient(open_api(config, releases=releases)))

        yield opened


def page(http: TestClient, **sent: Any) -> dict[str, Any]:
    reply = http.post("/v1/search", **sent)
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


def test_a_disabled_ranker_leaves_the_fused_order(http_with: Opener) -> None:
    body = page(http_with(ranker_ms=0), json={"text": "red mug", "limit": 100, "explain": False})
    assert body["degraded"] == ["ranker: deadline 0 ms"]
    fused = [hit["explanation"]["fused"] for hit in body["hits"]]
    assert fused == sorted(fused, reverse=True)
    assert [hit["score"] for hit in body["hits"]] == fused


def test_a_late_ranker_leaves_the_fused_order(http_with: Opener) -> None:
    http = http_with(ranker_ms=1, explain_ms=0)
    body = page(http, json={"text": "red mug bag lamp dress", "limit": 100, "explain": True})
    assert body["degraded"] == ["ranker: deadline 1 ms"]
    assert {hit["explanation"]["contributions"] for hit in body["hits"]} == {None}


def test_without_the_fuser_reciprocal_ranks_are_ranked(http_with: Opener) -> None:
    body = page(http_with(fuser_ms=0), json={"text": "green lamp", "limit": 5})
    assert body["degraded"] == ["fuser: deadline 0 ms"]
    best = body["hits"][0]
    ranks = best["explanation"]["retrievers"].values()
    assert best["explanation"]["fused"] == pytest.approx(sum(1 / (60 + rank) for rank in ranks))
    assert best["score"] != best["explanation"]["fused"]


def test_without_the_text_encoder_the_words_alone_are_searched(http_with: Opener) -> None:
    body = page(http_with(text_encoder_ms=0), json={"text": "green lamp", "limit": 100})
    assert body["degraded"] == ["text encoder: deadline 0 ms"]
    assert {name for hit in body["hits"] for name in hit["explanation"]["retrievers"]} == {"bm25"}


def test_without_the_image_encoder_the_words_alone_are_searched(http_with: Opener) -> None:
    http = http_with(image_encoder_ms=0)
    both = page(http, files={"image": ("q.png", make_image("mug", "red"))}, data={"text": "red mug"})
    assert both["degraded"] == ["image encoder: deadline 0 ms"]
    assert {name for hit in both["hits"] for name in hit["explanation"]["retrievers"]} == {"bm25", "text"}


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ({"image_encoder_ms": 0}, "image encoder: deadline 0 ms"),
        ({"retriever_ms": 0}, "retriever: deadline 0 ms"),
    ],
)
def test_without_a_fallback_the_reply_is_503_with_retry_after(
    http_with: Opener, caplog: pytest.LogCaptureFixture, budgets: dict[str, int], message: str
) -> None:
    reply = http_with(**budgets).post("/v1/search", files={"image": ("q.png", make_image("mug", "red"))})
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "1"
    assert reply.json()["error"] == {
        "code": "unavailable",
        "field": None,
        "message": f"the search is not available: {message}",
    }
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("search_unavailable")]
    assert "request_id=" in line
    assert message in line


def test_a_degraded_answer_is_logged_without_the_words(http_with: Opener, caplog: pytest.LogCaptureFixture) -> None:
    page(http_with(ranker_ms=0), json={"text": "secret wish red mug", "request_id": "r7"})
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("degraded")]
    assert "request_id=r7" in line
    assert "ranker: deadline 0 ms" in line
    assert "secret" not in line


FULL_DISK = """
import sys
from pathlib import Path
from fastapi.testclient import TestClient
from serve_apps.app import open_api
from serve_apps.settings import ServingConfig

event = {"request_id": "r", "release_id": "r-1", "kind": "click", "product_id": "p" * 200}
with TestClient(open_api(ServingConfig(lake=Path(sys.argv[1]), journal=Path(sys.argv[2]), refresh_s=0.0))) as http:
    print(*[http.post("/v1/events", json={**event, "event_id": f"e{i}"}).status_code for i in range(6)])
"""


def test_a_full_disk_refuses_events_with_503(shop: Lake, tmp_path: Path) -> None:
    replies = run_on_a_full_disk(FULL_DISK, str(shop.root), str(tmp_path), num_bytes=1024).split()
    assert replies[0] == "202"
    assert "503" in replies
