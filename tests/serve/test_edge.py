"""The other routes: products, release, health, the page's files and the API's description."""

from __future__ import annotations

import re
from typing import Any

from fastapi.testclient import TestClient

from intarsia.lake import Lake
from intarsia.release.pointer import Pointer
from tests.shop import products


def test_a_product_is_shown_as_the_shop_tells_it(http: TestClient) -> None:
    product = next(p for p, _ in products() if len(p.images) == 2)
    shown = http.get(f"/v1/products/{product.product_id}").json()
    assert shown["title"] == product.title
    assert shown["category"] == list(product.category_path)
    assert shown["attributes"] == {name: list(values) for name, values in product.attributes.items()}
    assert [http.get(url).status_code for url in shown["images"]] == [200, 200]


def test_the_release_says_what_it_is(http: TestClient, shop: Lake) -> None:
    told = http.get("/v1/release").json()
    assert told["release_id"] == Pointer(shop.root / "releases").live()
    assert told["num_products"] == len(products())
    assert told["facets"] == ["category", "brand", "price", "in_stock", "attributes.color", "attributes.material"]


def test_every_facet_the_release_names_can_be_asked_for(http: TestClient) -> None:
    names = http.get("/v1/release").json()["facets"]
    found = http.post("/v1/search", json={"text": "red", "facets": names}).json()["facets"]
    assert set(found) == set(names)
    assert all(found.values())


def test_alive_and_ready(http: TestClient) -> None:
    assert http.get("/healthz").json() == {"status": "alive"}
    assert http.get("/readyz").json()["status"] == "ready"


def test_the_page_loads_nothing_from_elsewhere(http: TestClient) -> None:
    page = http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {link for link in linked if link.startswith(("http:", "https:", "//"))} == set()
    for link in [link for link in linked if link.startswith("/page/")]:
        assert http.get(link).status_code == 200


def test_the_description_names_every_route_with_its_bodies(http: TestClient) -> None:
    document: dict[str, Any] = http.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/search",
        "/v1/similar/{product_id}",
        "/v1/products/{product_id}",
        "/v1/products/{product_id}/images/{number}",
        "/v1/events",
        "/v1/release",
        "/healthz",
        "/readyz",
    }
    kinds = document["paths"]["/v1/search"]["post"]["requestBody"]["content"]
    assert set(kinds) == {"application/json", "multipart/form-data"}
    parameters = {p["name"] for p in document["paths"]["/v1/search"]["get"]["parameters"]}
    assert {"q", "facets", "brand", "limit"} <= parameters
    references = set(re.findall(r'"#/components/schemas/(\w+)"', http.get("/openapi.json").text))
    assert references <= set(document["components"]["schemas"])
