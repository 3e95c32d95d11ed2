"""Any request gets a result or a 4xx that names the field; never a 500."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intarsia.text import clean
from tests.shop import make_image


def bomb(side: int) -> bytes:
    """A PNG of a few dozen bytes whose header promises side x side pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


TORN = make_image("mug", "red")[:80]


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "text", "give words, an image, or both"),
        ({"text": "   "}, "text", "give words"),
        ({"text": "x" * 513}, "text", "at most 512"),
        ({"text": 7}, "text", "valid string"),
        ({"text": "x", "limit": 0}, "limit", "greater than or equal to 1"),
        ({"text": "x", "limit": 101}, "limit", "found 101; allowed: 1..100"),
        ({"text": "x", "limit": "10"}, "limit", "valid integer"),
        ({"text": "x", "offset": -1}, "offset", "greater than or equal to 0"),
        ({"text": "x", "colour": "red"}, "colour", "not permitted"),
        ({"text": "x", "locale": "de"}, "locale", "'zh' or 'en'"),
        ({"text": "x", "facets": ["shape"]}, "facets", "found shape; allowed: category, brand"),
        ({"text": "x", "filters": {"brands": ["a", ""]}}, "filters.brands[1]", "at least 1"),
        ({"text": "x", "filters": {"price_min": 5, "price_max": 4}}, "filters", "price_min 5 is above price_max 4"),
        ({"text": "x", "filters": {"attributes": {"color": "red"}}}, "filters.attributes.color", "valid array"),
        ({"text": "x", "request_id": "a b"}, "request_id", "pattern"),
        ({"image_base64": "%%%"}, "image_base64", "not base64"),
        ({"image_base64": base64_of(b"hello")}, "image_base64", "not an image"),
        ({"image_base64": base64_of(bomb(6_000))}, "image_base64", "6000x6000 pixels; allowed: 25000000"),
        ({"image_base64": base64_of(bomb(60_000))}, "image_base64", "too large"),
        ({"text": "mug", "image_base64": base64_of(TORN)}, "image", "damaged"),
    ],
)
def test_a_wrong_search_is_refused_by_the_path_of_its_field(
    http: TestClient, body: dict[str, Any], field: str, words: str
) -> None:
    reply = http.post("/v1/search", json=body)
    assert reply.status_code == 422
    assert reply.json()["error"]["field"] == field
    assert words in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "Invalid JSON"),
        (b"[]", "an object"),
        (b"", "Invalid JSON"),
        (b'{"text": "\\ud800"}', "Invalid JSON"),
    ],
)
def test_a_body_that_is_not_a_request_is_refused(http: TestClient, body: bytes, words: str) -> None:
    reply = http.post("/v1/search", content=body)
    assert (reply.status_code, reply.json()["error"]["field"]) == (422, "body")
    assert words in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("files", "data", "field", "words"),
    [
        ({"image": ("q.png", b"hello")}, {}, "image", "not an image"),
        ({"image": ("q.png", b"")}, {}, "image", "no bytes"),
        ({"photo": ("q.png", b"x")}, {}, "photo", "the only file part is image"),
        ({"image": ("q.png", make_image("mug", "red"))}, {"limit": "many"}, "limit", "valid integer"),
        ({"image": ("q.png", make_image("mug", "red"))}, {"request": "["}, "request", "not JSON"),
        ({"image": ("q.png", make_image("mug", "red"))}, {"request": "[]"}, "request", "allowed: an object"),
        ({"image": ("q.png", make_image("mug", "red"))}, {"image_base64": "aa"}, "image_base64", "as the part image"),
        ({"image": (None, "text")}, {}, "image", "allowed: a file part"),
    ],
)
def test_wrong_parts_are_refused_by_name(
    http: TestClient, files: dict[str, Any], data: dict[str, str], field: str, words: str
) -> None:
    reply = http.post("/v1/search", files=files, data=data)
    assert (reply.status_code, reply.json()["error"]["field"]) == (422, field)
    assert words in reply.json()["error"]["message"]


def test_a_multipart_body_without_its_boundary_is_refused(http: TestClient) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=zzz"):
        reply = http.post("/v1/search", content=b"--yyy\r\n", headers={"content-type": kind})
        assert (reply.status_code, reply.json()["error"]["field"]) in ((422, "body"), (422, "text"))


@pytest.mark.parametrize(
    ("url", "field", "words"),
    [
        ("/v1/search", "q", "give words to search for"),
        ("/v1/search?q=x&limt=3", "limt", "unknown parameter; known: q"),
        ("/v1/search?q=x&q=y", "q", "given 2 times"),
        ("/v1/search?q=x&limit=many", "limit", "valid integer"),
        ("/v1/search?q=x&limit=1000", "limit", "allowed: 1..100"),
        ("/v1/similar/p000?q=x", "q", "unknown parameter"),
    ],
)
def test_a_wrong_address_is_refused_by_the_name_of_its_parameter(
    http: TestClient, url: str, field: str, words: str
) -> None:
    reply = http.get(url)
    assert (reply.status_code, reply.json()["error"]["field"]) == (422, field)
    assert words in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("/v1/products/none", "there is no product 'none' in release r-"),
        ("/v1/similar/none", "there is no product 'none'"),
        ("/v1/products/none/images/0", "there is no product 'none'"),
        ("/v1/products/p000/images/9", "product p000 has no image 9"),
        ("/v1/nothing", "there is nothing at /v1/nothing"),
        ("/page/secret.txt", "there is nothing at /page/secret.txt"),
        ("/docs", "there is nothing at /docs"),
    ],
)
def test_an_unknown_path_is_404_in_json(http: TestClient, url: str, words: str) -> None:
    reply = http.get(url)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
    assert words in reply.json()["error"]["message"]


def test_another_method_is_405_in_the_same_shape(http: TestClient) -> None:
    reply = http.put("/v1/search")
    assert (reply.status_code, reply.json()["error"]["code"]) == (405, "method_not_allowed")


def test_a_body_beyond_the_limit_is_413_with_and_without_its_length(http: TestClient) -> None:
    with_length = http.post("/v1/search", content=b"x" * 8_000_001)
    without_length = http.post("/v1/search", content=(b"x" * 100_000 for _ in range(81)))
    for reply in (with_length, without_length):
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")


def test_a_image_beyond_the_limit_is_413(http: TestClient) -> None:
    reply = http.post("/v1/search", files={"image": ("q.png", make_image("mug", "red") + b"\0" * 5_000_000)})
    assert (reply.status_code, reply.json()["error"]["field"]) == (413, "image")


def test_problems_are_listed_together(http: TestClient) -> None:
    reply = http.post("/v1/search", json={"text": "x", "limit": 0, "offset": -1})
    assert [problem["field"] for problem in reply.json()["error"]["problems"]] == ["offset", "limit"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
NAMES = ("text", "filters", "facets", "locale", "offset", "limit", "explain", "request_id", "image_base64", "event_id")
REQUESTS = st.dictionaries(st.sampled_from(NAMES), JSON | st.sampled_from(["red mug", 5, True, ["brand"]]), max_size=6)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON | REQUESTS)
def test_any_json_is_answered_or_refused_by_a_field(api: FastAPI, body: Any) -> None:
    with TestClient(api) as http:
        for url in ("/v1/search", "/v1/events"):
            reply = http.post(url, content=json.dumps(body))
            assert reply.status_code in (200, 202, 422)
            assert reply.status_code != 422 or reply.json()["error"]["field"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40))
def test_any_words_are_searched(api: FastAPI, text: str) -> None:
    with TestClient(api) as http:
        reply = http.get("/v1/search", params={"q": text})
        assert reply.status_code == (200 if clean(text) else 422), reply.text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(1, 300), flip=st.integers(0, 299))
def test_any_broken_image_is_answered_or_refused(api: FastAPI, cut: int, flip: int) -> None:
    content = bytearray(make_image("dress", "green"))
    content[flip % len(content)] ^= 0xFF
    with TestClient(api) as http:
        reply = http.post("/v1/search", files={"image": ("q.png", io.BytesIO(bytes(content[:cut])))})
        assert reply.status_code in (200, 422)
