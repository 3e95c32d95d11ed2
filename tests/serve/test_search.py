"""POST and GET /v1/search, /v1/similar: results, filters, paging, and equal bytes for equal requests."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.shop import HOSTILE_ID, make_image, products

SHOP = {product.product_id: product for product, _ in products()}


def search(http: TestClient, **body: Any) -> dict[str, Any]:
    reply = http.post("/v1/search", json=body)
    assert reply.status_code == 200, reply.text
    page: dict[str, Any] = reply.json()
    assert page["degraded"] == []
    return page


def test_words_find_products_with_these_words(http: TestClient) -> None:
    page = search(http, text="green mug", limit=3)
    assert {SHOP[hit["product_id"]].attributes["color"] for hit in page["hits"]} == {("green",)}
    assert [hit["position"] for hit in page["hits"]] == [1, 2, 3]


def test_chinese_words_find_chinese_titles(http: TestClient) -> None:
    assert search(http, text="绿色 马克杯", limit=1)["hits"][0]["title"] == "青竹 绿色 马克杯"


def test_an_image_finds_similar_ones_and_names_the_one_that_matched(http: TestClient) -> None:
    reply = http.post("/v1/search", files={"image": ("q.png", make_image("dress", "blue", 1))}, data={"limit": "100"})
    best = next(hit for hit in reply.json()["hits"] if hit["explanation"]["retrievers"]["image"] == 1)
    assert SHOP[best["product_id"]].attributes["color"] == ("blue",)
    assert best["explanation"]["retrievers"] == {"image": 1}
    assert best["explanation"]["image_number"] == 1
    assert best["image"].endswith("/images/1")


def test_base64_and_multipart_images_are_answered_alike(http: TestClient) -> None:
    image = make_image("mug", "red")
    body = {"text": "mug", "limit": 5, "request_id": "r1", "facets": ["brand"]}
    as_json = http.post("/v1/search", json={**body, "image_base64": base64.b64encode(image).decode()})
    as_parts = http.post("/v1/search", files={"image": ("q.png", image)}, data={"request": json.dumps(body)})
    assert as_json.status_code == 200
    assert as_json.content == as_parts.content
    assert set(as_json.json()["hits"][0]["explanation"]["retrievers"]) <= {"bm25", "text", "image", "aligned"}


def test_the_same_request_gets_the_same_bytes(http: TestClient) -> None:
    body = {"text": "red bag", "facets": ["brand", "attributes.color"], "request_id": "r1", "explain": True}
    assert http.post("/v1/search", json=body).content == http.post("/v1/search", json=body).content


def test_get_answers_what_post_answers(http: TestClient) -> None:
    body = {
        "text": "red",
        "limit": 4,
        "offset": 2,
        "facets": ["brand", "category"],
        "request_id": "r1",
        "filters": {"brands": ["Acorn", "Luma"], "price_max": 30_000, "attributes": {"color": ["red"]}},
    }
    url = (
        "/v1/search?q=red&limit=4&offset=2&facets=brand&facets=category&request_id=r1"
        "&brand=Acorn&brand=Luma&price_max=30000&attributes.color=red"
    )
    assert http.get(url).content == http.post("/v1/search", json=body).content


def test_filters_leave_only_what_passes_them_and_facets_count_it(http: TestClient) -> None:
    filters = {"category": ["Home"], "attributes": {"color": ["red", "blue"]}, "price_min": 1_000, "in_stock": True}
    page = search(http, text="red blue mug lamp", filters=filters, facets=["brand"], limit=100)
    expected = {
        product.product_id
        for product in SHOP.values()
        if product.category_path[0] == "Home"
        and product.attributes["color"][0] in ("red", "blue")
        and product.price is not None
        and product.price.minor_units >= 1_000
        and product.in_stock
    }
    assert {hit["product_id"] for hit in page["hits"]} == expected
    assert page["total"] == len(expected)
    assert sum(value["count"] for value in page["facets"]["brand"]) == len(expected)


def test_paging_repeats_and_loses_nothing(http: TestClient) -> None:
    whole = search(http, text="red bag dress", limit=100)
    pages = [search(http, text="red bag dress", limit=7, offset=offset)["hits"] for offset in range(0, 105, 7)]
    assert [hit["product_id"] for page in pages for hit in page] == [hit["product_id"] for hit in whole["hits"]]
    assert whole["reachable"] == len(whole["hits"])


def test_shares_sum_to_the_score_when_asked_for_and_are_absent_otherwise(http: TestClient) -> None:
    explained = search(http, text="black lamp", explain=True, limit=5)["hits"]
    for hit in explained:
        explanation = hit["explanation"]
        assert sum(explanation["contributions"].values()) + explanation["bias"] == pytest.approx(hit["score"], abs=1e-5)
    without_shares = search(http, text="black lamp", limit=5)["hits"]
    assert {hit["explanation"]["contributions"] for hit in without_shares} == {None}
    assert [hit["score"] for hit in without_shares] == [hit["score"] for hit in explained]


def test_similar_products_resemble_the_seed_and_exclude_it(http: TestClient) -> None:
    seed = next(p for p in SHOP.values() if p.category_path[-1] == "Mugs" and len(p.images) > 1)
    page = http.get(f"/v1/similar/{seed.product_id}", params={"limit": 100, "brand": seed.brand}).json()
    assert seed.product_id not in {hit["product_id"] for hit in page["hits"]}
    assert {SHOP[hit["product_id"]].brand for hit in page["hits"]} == {seed.brand}
    closest = next(hit for hit in page["hits"] if hit["explanation"]["retrievers"].get("text") == 1)
    assert SHOP[closest["product_id"]].category_path[-1] == "Mugs"


def test_durations_are_in_a_header_not_in_the_body(http: TestClient) -> None:
    reply = http.get("/v1/search", params={"q": "mug"})
    names = [part.split(";")[0] for part in reply.headers["server-timing"].split(", ")]
    assert names == ["text_encoder", "retriever", "fuser", "ranker", "total"]


def test_a_request_without_an_id_is_given_one(http: TestClient) -> None:
    first, second = (search(http, text="mug")["request_id"] for _ in range(2))
    assert first != second


def test_a_hostile_id_is_reached_through_its_own_links(http: TestClient) -> None:
    page = search(http, text="red cotton bag", limit=100)
    hit = next(hit for hit in page["hits"] if hit["product_id"] == HOSTILE_ID)
    image = http.get(hit["image"])
    assert image.headers["content-type"] == "image/png"
    assert image.content == make_image("bag", "red")
    product = http.get(hit["image"].removesuffix("/images/0")).json()
    assert product["product_id"] == HOSTILE_ID
    assert product["images"] == [hit["image"]]
