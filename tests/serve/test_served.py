"""Served requests are logged in both topologies, and a replay from the log gives the same bits."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from intarsia.lake import Lake
from intarsia.records.served import IMAGE_NOT_STORED, ServedRequest
from intarsia.release.bundle import open_bundle
from intarsia.release.pointer import Pointer
from intarsia.tables.served_requests import read_served
from serve_apps.app import open_api
from serve_apps.settings import Budgets, ServingConfig
from tests.serve.conftest import GRAPHS, Graph
from tests.shop import make_image, small_shop

pytestmark = pytest.mark.timeout(600)


def send_all(client: httpx.Client, name: str) -> dict[str, Any]:
    """Search by words, image, both and product; returns the pages by request id."""
    files = {"image": ("q.png", make_image("mug", "red", 1))}
    named = {"explain": True, "filters": {"brands": ["Luma", "Acorn"]}, "facets": ["brand"]}
    replies = [
        client.post("/v1/search", json={"request_id": f"{name}-words", "text": "red mug", "offset": 2}),
        client.post("/v1/search", json={"request_id": f"{name}-filters", "text": "红色 包", **named}),
        client.post("/v1/search", files=files, data={"request": json.dumps({"request_id": f"{name}-image"})}),
        client.post(
            "/v1/search", files=files, data={"request": json.dumps({"request_id": f"{name}-both", "text": "bag"})}
        ),
        client.get("/v1/similar/p012", params={"request_id": f"{name}-similar"}),
    ]
    pages = [reply.json() for reply in replies]
    return {page["request_id"]: page for page in pages}


def in_log(served: Path, request_ids: set[str]) -> dict[str, ServedRequest]:
    """The logged requests of these ids."""
    return {record.request_id: record for record in read_served(served) if record.request_id in request_ids}


def assert_logged_and_replayed(pages: dict[str, Any], log: dict[str, ServedRequest]) -> None:
    engine = open_bundle(Pointer(small_shop().root / "releases").live_folder())
    assert set(log) == set(pages)
    for request_id, page in pages.items():
        served = log[request_id]
        assert (served.release_id, list(served.degraded)) == (page["release_id"], page["degraded"])
        assert served.shown == tuple((hit["position"], hit["product_id"]) for hit in page["hits"])
        assert engine.replay(served) == served.digest != b""


def test_every_page_is_logged_and_replayed(api: Any, served: Path) -> None:
    with TestClient(api) as http:
        pages = send_all(http, "here")
    log = in_log(served, set(pages))  # the application writes its queue when it ends
    assert_logged_and_replayed(pages, log)
    assert [log[f"here-{name}"].query.image for name in ("words", "image")] == [None, IMAGE_NOT_STORED]


@pytest.mark.parametrize("topology", GRAPHS)
def test_both_topologies_log_what_can_be_replayed(graph: Graph, served: Path, topology: str) -> None:
    pages = send_all(getattr(graph, topology), topology)
    log: dict[str, ServedRequest] = {}
    while len(log) < len(pages):  # another process writes it within a second
        time.sleep(0.05)
        log = in_log(served, set(pages))
    assert_logged_and_replayed(pages, log)


def test_a_page_without_the_ranker_is_logged_as_degraded_and_has_no_digest(shop: Lake, tmp_path: Path) -> None:
    config = ServingConfig(lake=shop.root, journal=tmp_path, served=tmp_path / "served", budgets=Budgets(ranker_ms=0))
    with TestClient(open_api(config)) as http:
        http.post("/v1/search", json={"request_id": "r", "text": "red mug", "limit": 3})
    [served] = read_served(tmp_path / "served")
    assert (served.digest, served.is_replayable) == (b"", False)
    assert "ranker: deadline 0 ms" in served.degraded
    assert len(served.shown) == 3
