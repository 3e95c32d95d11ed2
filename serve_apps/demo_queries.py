"""Three questions to a server that runs (Chinese, English, a picture), and its answers in a few lines each: `--once` of `run.py`."""

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

_SHOWN = 3
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A name for people, and the body of a POST /v1/search."""

    name: str
    body: dict[str, Any]


def questions(lake: Lake, release: Path) -> list[Question]:
    """A Chinese, an English and a picture question: of the judged test queries when the lake has them, else out of the catalog itself."""
    found: dict[str, Question] = {}
    for query in _judged(lake):
        if query.kind == "text":
            found.setdefault(query.locale, _by_words(query.text or ""))
        elif query.kind == "image":
            found.setdefault("picture", _by_image(f"a picture (judged query {query.query_id})", query.image or b""))
    documents = Documents.open(release / "indexes")
    for row in range(documents.num_rows):
        if len(found) == _SHOWN:
            break
        document: Document = documents.get([row])[0]
        found.setdefault(document.locale, _by_words(document.title))
        if document.num_images and "picture" not in found:
            found["picture"] = _by_image(f"a picture (of {document.title})", documents.image(row, 0) or b"")
    return [found[name] for name in ("zh", "en", "picture") if name in found]


def ask(url: str, question: Question) -> str:
    """The answer of a running server as lines.

    Raises:
        ArtifactError: the server refuses the question.
    """
    body = json.dumps({**question.body, "limit": _SHOWN}).encode()
    request = urllib.request.Request(f"{url}/v1/search", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:
            page = json.load(reply)
    except urllib.error.HTTPError as error:
        raise ArtifactError(f"{question.name}: HTTP {error.code}, {error.read().decode()}") from None
    lines = [f"{question.name}  ->  {page['total']} matches{_degraded(page)}"]
    for hit in page["hits"]:
        by = ", ".join(f"{name} #{rank}" for name, rank in hit["explanation"]["retrievers"].items())
        lines.append(f"  {hit['position']}. {hit['title']}  {_price(hit)}  [{hit['score']:.3f}; {by}]")
    return "\n".join(lines)


def _judged(lake: Lake) -> Iterator[JudgedQuery]:
    if lake.has("queries"):
        rows = QUERIES.read(lake.current("queries")).to_pylist()
        yield from (query for query in map(row_to_query, rows) if query.split == "test")


def _by_words(text: str) -> Question:
    return Question(name=f'"{text}"', body={"text": text})


def _by_image(name: str, content: bytes) -> Question:
    return Question(name=name, body={"image_base64": base64.b64encode(content).decode()})


def _degraded(page: dict[str, Any]) -> str:
    return f" (degraded: {'; '.join(page['degraded'])})" if page["degraded"] else ""


def _price(hit: dict[str, Any]) -> str:
    price = hit["price"]
    if price is None:
        return "without a price"
    digits = MINOR_DIGITS.get(price["currency"], 2)
    return f"{price['minor_units'] / 10**digits:.{digits}f} {price['currency']}"
