"""The other routes: products, release, health, the files of the page, and the OpenAPI document."""

from __future__ import annotations

import re
from typing import Any

from fastapi.testclient import TestClient

from intarsia.lake import Lake
from intarsia.release.pointer import Pointer
from tests.shop import products


def test_a_product_is_returned_as_in_the_catalog(http: TestClient) -> None:
    product = next(p for p, _ in products() if len(p.images) == 2)
    body = http.get(f"/v1/products/{product.product_id}").json()
    assert body["title"] == product.title
    assert body["category"] == list(product.category_path)
    assert body["attributes"] == {name: list(values) for name, values in product.attributes.items()}
    assert [http.get(url).status_code for url in body["images"]] == [200, 200]


def test_the_release_route_describes_the_live_release(http: TestClient, shop: Lake) -> None:
    release = http.get("/v1/release").json()
    assert release["release_id"] == Pointer(shop.root / "releases").live()
    assert release["num_products"] == len(products())
    assert release["facets"] == ["category", "brand", "price", "in_stock", "attributes.color", "attributes.material"]


def test_every_facet_of_the_release_can_be_requested(http: TestClient) -> None:
    names = http.get("/v1/release").json()["facets"]
    facets = http.post("/v1/search", json={"text": "red", "facets": names}).json()["facets"]
    assert set(facets) == set(names)
    assert all(facets.values())


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


def test_the_openapi_document_names_every_route_with_its_bodies(http: TestClient) -> None:
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
