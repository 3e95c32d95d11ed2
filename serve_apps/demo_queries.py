"""`--once` of `run.py`: three demo queries (Chinese, English, an image) for a running server."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.catalog.documents import Document, Documents
from intarsia.catalog.money import MINOR_DIGITS
from intarsia.errors import ArtifactError
from intarsia.lake import Lake
from intarsia.records.judgment import JudgedQuery
from intarsia.tables.judgments import QUERIES, row_to_query

_NUM_QUERIES = 3
_NUM_HITS = 3
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoQuery:
    """A name to print, and the body of a POST /v1/search."""

    name: str
    body: dict[str, Any]


def demo_queries(lake: Lake, release: Path) -> list[DemoQuery]:
    """Return a Chinese, an English and an image query, from the judged test queries or else from the catalog."""
    queries: dict[str, DemoQuery] = {}
    for judged in _judged_test_queries(lake):
        if judged.kind == "text":
            queries.setdefault(judged.locale, _text_query(judged.text or ""))
        elif judged.kind == "image":
            name = f"an image (judged query {judged.query_id})"
            queries.setdefault("image", _image_query(name, judged.image or b""))
    documents = Documents.open(release / "indexes")
    for row in range(documents.num_rows):
        if len(queries) == _NUM_QUERIES:
            break
        document: Document = documents.get([row])[0]
        queries.setdefault(document.locale, _text_query(document.title))
        if document.num_images and "image" not in queries:
            queries["image"] = _image_query(f"an image (of {document.title})", documents.image(row, 0) or b"")
    return [queries[name] for name in ("zh", "en", "image") if name in queries]


def run_demo_query(url: str, query: DemoQuery) -> str:
    """Send a query to a running server and return the page as lines.

    Raises:
        ArtifactError: the server answers with an error.
    """
    body = json.dumps({**query.body, "limit": _NUM_HITS}).encode()
    request = urllib.request.Request(f"{url}/v1/search", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            page = json.load(response)
    except urllib.error.HTTPError as error:
        raise ArtifactError(f"{query.name}: HTTP {error.code}, {error.read().decode()}") from None
    lines = [f"{query.name}  ->  {page['total']} matches{_degraded(page)}"]
    for hit in page["hits"]:
        ranks = ", ".join(f"{name} #{rank}" for name, rank in hit["explanation"]["retrievers"].items())
        lines.append(f"  {hit['position']}. {hit['title']}  {_price(hit)}  [{hit['score']:.3f}; {ranks}]")
    return "\n".join(lines)


def _judged_test_queries(lake: Lake) -> Iterator[JudgedQuery]:
    if lake.has("queries"):
        rows = QUERIES.read(lake.current("queries")).to_pylist()
        yield from (query for query in map(row_to_query, rows) if query.split == "test")


def _text_query(text: str) -> DemoQuery:
    return DemoQuery(name=f'"{text}"', body={"text": text})


def _image_query(name: str, content: bytes) -> DemoQuery:
    return DemoQuery(name=name, body={"image_base64": base64.b64encode(content).decode()})


def _degraded(page: dict[str, Any]) -> str:
    return f" (degraded: {'; '.join(page['degraded'])})" if page["degraded"] else ""


def _price(hit: dict[str, Any]) -> str:
    price = hit["price"]
    if price is None:
        return "without a price"
    digits = MINOR_DIGITS.get(price["currency"], 2)
    return f"{price['minor_units'] / 10**digits:.{digits}f} {price['currency']}"
