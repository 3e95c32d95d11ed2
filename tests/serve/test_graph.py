"""The served graph over HTTP: both topologies return the same bytes, and a stage rejects another release."""

from __future__ import annotations

import asyncio
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from intarsia.errors import DataError, ReleaseMismatch
from intarsia.ids import ReleaseId, RequestId
from intarsia.records.query import EncodedQuery, Query
from serve_apps.service.stages import IMAGE_NOT_STORED, StageRejection, without_image
from tests.serve.conftest import Graph
from tests.shop import HOSTILE_ID, HOSTILE_TITLE, make_image

pytestmark = pytest.mark.timeout(600)

FACETS = ["brand", "category", "price", "in_stock", "attributes.color"]
REQUESTS: list[dict[str, Any]] = [
    {"text": "red mug"},
    {"text": "红色 连衣裙", "facets": FACETS},
    {"text": "bag", "offset": 5, "limit": 7, "filters": {"brands": ["Luma"], "price_max": 40_000}},
    {"text": "black lamp", "explain": True, "limit": 3},
    {"text": "zzzz qqqq", "facets": FACETS},
    {"text": "red", "facets": ["shape"]},
    {"text": "red", "limit": 0},
]


@pytest.mark.parametrize("body", REQUESTS, ids=lambda body: json.dumps(body, ensure_ascii=False)[:40])
def test_both_topologies_answer_the_same_bytes(graph: Graph, body: dict[str, Any]) -> None:
    body = {**body, "request_id": "r1"}
    fused, composed = (client.post("/v1/search", json=body) for client in (graph.fused, graph.composed))
    assert fused.status_code == composed.status_code
    assert fused.content == composed.content
    assert "degraded" not in fused.json() or fused.json()["degraded"] == []


@pytest.mark.parametrize("text", [None, "red mug"])
def test_both_topologies_answer_images_with_the_same_bytes(graph: Graph, text: str | None) -> None:
    body = {"request_id": "r1", "explain": True, **({"text": text} if text else {})}
    files = {"image": ("q.png", make_image("mug", "red", 1))}
    fused, composed = (
        client.post("/v1/search", files=files, data={"request": json.dumps(body)})
        for client in (graph.fused, graph.composed)
    )
    assert fused.status_code == 200
    assert fused.content == composed.content


def test_both_topologies_answer_similar_with_the_same_bytes(graph: Graph) -> None:
    for product_id in ("p007", "p012"):
        url = f"/v1/similar/{product_id}?request_id=r1&facets=brand&explain=true"
        fused, composed = graph.fused.get(url), graph.composed.get(url)
        assert fused.status_code == 200
        assert fused.content == composed.content


def test_readyz_names_the_release_of_each_stage(graph: Graph) -> None:
    ready = graph.composed.get("/readyz").json()
    assert ready["stages"] == dict.fromkeys(("retriever", "fuser", "ranker"), ready["release_id"])
    assert graph.fused.get("/readyz").json()["stages"] == {}
    assert graph.composed.get("/v1/release").json()["topology"] == "composed"


def test_a_stage_rejects_another_release(graph: Graph) -> None:
    from ray import serve

    async def call_all() -> list[Any]:
        other = ReleaseId("r-other")
        retriever, fuser, ranker = (
            serve.get_deployment_handle(name, "composed") for name in ("Retriever", "Fuser", "Ranker")
        )
        return [
            await retriever.retrieve.remote(other, None),
            await fuser.fuse.remote(other, None),
            await ranker.rank.remote(other, None, None),
        ]

    for rejection in asyncio.run(call_all()):
        assert isinstance(rejection, StageRejection)
        error = rejection.to_error()
        assert isinstance(error, ReleaseMismatch)
        assert "release r-other is not open here; open: r-" in str(error)


def test_a_rejected_query_keeps_its_field() -> None:
    raised = DataError(table="query", field="facets", found="shape", allowed="brand", fix="ask for another")
    error = StageRejection.from_error(raised).to_error()
    assert isinstance(error, DataError)
    assert (error.field, error.found, error.allowed) == ("facets", "shape", "brand")


def test_stages_exchange_no_document_and_no_image(graph: Graph) -> None:
    from ray import serve

    async def messages() -> tuple[Any, ...]:
        release = ReleaseId(graph.composed.get("/v1/release").json()["release_id"])
        retriever, fuser, ranker = (
            serve.get_deployment_handle(name, "composed") for name in ("Retriever", "Fuser", "Ranker")
        )
        image = make_image("bag", "red")
        query = Query(request_id=RequestId("r"), text="red cotton bag", image=image, asked_at=datetime.now(UTC))
        query = without_image(query)
        candidates = await retriever.retrieve.remote(release, EncodedQuery(query=query))
        fused = await fuser.fuse.remote(release, candidates)
        return query, candidates, fused, await ranker.rank.remote(release, query, fused)

    query, candidates, fused, ranked = asyncio.run(messages())
    assert query.image == IMAGE_NOT_STORED
    assert len(ranked.order_C) == len(fused.rows_C) == len(candidates.rows_C) > 0
    content = pickle.dumps((candidates, fused, ranked))
    assert not any(word in content for word in (HOSTILE_ID.encode(), HOSTILE_TITLE.encode(), b"\x89PNG"))


def test_feedback_reaches_the_journal_through_both(graph: Graph) -> None:
    event = {"request_id": "r1", "release_id": "r-1", "kind": "view", "product_id": "p1"}
    for name, client in (("fused", graph.fused), ("composed", graph.composed)):
        assert client.post("/v1/events", json={**event, "event_id": f"g-{name}"}).json()["accepted"] == 1


def test_a_body_beyond_the_limit_is_413_through_the_proxy_too(graph: Graph) -> None:
    reply = graph.fused.post("/v1/search", content=b"x" * 8_000_001)
    assert reply.status_code == 413
