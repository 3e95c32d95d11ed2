"""Serving a release whose fusion reads vectors: both topologies return the same bytes; the composed ingress fuses."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from intarsia.engine.config import EngineConfig
from intarsia.engine.search import open_query_encoders, open_retrieve, product_vectors
from intarsia.experiments.judged_candidates import UNRELEASED
from intarsia.fusion.feature.config import FeatureFitConfig
from intarsia.fusion.feature.feature_fuser import FeatureConfig
from intarsia.fusion.protocol import FusionTrainingData
from intarsia.fusion.registry import fit_fuser
from intarsia.fusion.spec import FusionSpec
from intarsia.ids import RequestId
from intarsia.lake import Lake
from intarsia.records.query import Query
from serve_apps.app import open_api
from serve_apps.settings import Replicas, ServingConfig
from tests.serve.conftest import PATIENT, Graph
from tests.shop import NOON, make_image, make_release_fused_by, products

pytestmark = pytest.mark.timeout(600)

TINY = FeatureFitConfig(
    width=8, num_heads=2, num_steps=6, queries_per_step=4, candidates_per_query=8, products_per_step=8, measure_every=3
)
APP = "features"


@pytest.fixture(scope="module")
def lake(shop: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The shop with a gated fusion, live."""
    lake = Lake(tmp_path_factory.mktemp("features") / "lake")
    shutil.copytree(shop.root, lake.root)
    equal = FusionSpec(kind="equal", normaliser="z")  # tuned weights may leave its column out
    spec = FeatureConfig(kind="gated", joint=TINY, fused_by=equal)
    train, validation = (training_data(lake, shade) for shade in (0, 1))
    make_release_fused_by(lake, fit_fuser(spec, train, validation, seed=1))
    return lake


def training_data(lake: Lake, shade: int) -> FusionTrainingData:
    """Queries by text and image, whose relevant products have the colour and thing in their title."""
    indexes = lake.current("indexes").path
    retrieve = open_retrieve(indexes, config=EngineConfig(depth=50), release_id=UNRELEASED)
    encoders = open_query_encoders(lake.current("query_encoders").path, indexes=indexes)
    pairs = [(colour, thing) for colour in ("red", "blue") for thing in ("mug", "lamp")]
    queries = [
        Query(
            request_id=RequestId(f"{colour}-{thing}-{shade}"),
            text=f"{colour} {thing}" if number % 3 else None,
            image=make_image(thing, colour, shade) if number % 3 < 2 else None,
            asked_at=NOON,
        )
        for number, (colour, thing) in enumerate(pairs)
    ]
    candidates = retrieve.retrieve([encoders.encode(query) for query in queries])
    titles = [product.title for product, _ in products()]
    grades = [
        np.array([3.0 if f"{colour} {thing}" in titles[row] else 0.0 for row in of_query.rows_C])
        for (colour, thing), of_query in zip(pairs, candidates, strict=True)
    ]
    ids = tuple(str(query.request_id) for query in queries)
    return FusionTrainingData(
        query_ids=ids,
        candidates=candidates,
        grades=grades,
        judged=grades,
        products=product_vectors(retrieve.vectors),
    )


@pytest.fixture(scope="module")
def both(graph: Graph, lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    """Fused in this process, and composed (the ingress fuses) next to the graph that all tests share."""
    logs = tmp_path_factory.mktemp("logs")
    common: dict[str, Any] = {
        "lake": lake.root,
        "journal": logs / "journal",
        "served": logs / "served",
        "budgets": PATIENT,
        "refresh_s": 0.0,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray Serve declares its own models in pydantic's older way
        from ray import serve

        from serve_apps.deployments.graph import bind

        config = ServingConfig(topology="composed", replicas=Replicas(num_cpus=0.1), **common)
        serve.run(bind(config), name=APP, route_prefix=f"/{APP}")
        url = graph.composed.base_url.copy_with(path=f"/{APP}")
        with (
            httpx.Client(base_url=url, timeout=60) as composed,
            TestClient(open_api(ServingConfig(**common))) as fused,
        ):
            yield Graph(fused=fused, composed=composed)
        serve.delete(APP)


@pytest.mark.parametrize("parts", ["text", "image", "both", "similar"])
def test_both_topologies_answer_the_same_bytes(both: Graph, graph: Graph, parts: str) -> None:
    replies = []
    for client in (both.fused, both.composed, graph.fused):
        if parts == "similar":
            replies.append(client.get("v1/similar/p007?request_id=r1&explain=true"))
            continue
        body = {"request_id": "r1", "explain": True, **({} if parts == "image" else {"text": "red mug"})}
        files = {} if parts == "text" else {"image": ("q.png", make_image("mug", "red", 1))}
        form = {"files": files, "data": {"request": json.dumps(body)}} if files else {"json": body}
        replies.append(client.post("v1/search", **form))  # type: ignore[arg-type]
    fused, composed, of_convex = replies
    assert fused.status_code == composed.status_code == 200
    assert fused.content == composed.content
    assert fused.json()["degraded"] == []
    fused_scores, convex_scores = (
        [hit["explanation"]["fused"] for hit in reply.json()["hits"]] for reply in (fused, of_convex)
    )
    assert len(fused_scores) == len(convex_scores) > 0
    assert fused_scores != convex_scores


def test_a_graph_without_fuser_replicas_has_two_stages(both: Graph) -> None:
    ready = both.composed.get("readyz").json()
    assert ready["stages"] == dict.fromkeys(("retriever", "ranker"), ready["release_id"])
