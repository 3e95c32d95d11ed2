"""Small shops for the feature tests, built directly from product data, without the catalog package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from intarsia.ids import EventId, ProductId, ReleaseId, RequestId, SpaceId
from intarsia.names import RETRIEVERS
from intarsia.records.candidates import Candidates
from intarsia.records.event import Event, EventKind
from intarsia.records.feature_matrix import CandidateFrame, Column, Ragged
from intarsia.records.product_columns import CATEGORY_SEPARATOR, ProductColumns
from intarsia.records.query import EncodedQuery, Query, QueryVector
from intarsia.text import words

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RELEASE = ReleaseId("r1")
SPACE = SpaceId("test-space")


@dataclass(frozen=True, kw_only=True)
class Item:
    """The data of one product."""

    title: str
    description: str = ""
    brand: str = ""
    category: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    price: float = np.nan
    in_stock: float = np.nan
    updated_at: datetime | None = None
    num_images: int = 0
    is_zh: bool = False
    currency: str = "USD"


def columns_of(items: Sequence[Item]) -> ProductColumns:
    """The columns of a shop whose product ids are p000, p001, …"""
    texts = {
        "title": [item.title for item in items],
        "description": [item.description for item in items],
        "brand": [item.brand for item in items],
        "category": [" ".join(item.category) for item in items],
        "attributes": [" ".join(v for values in item.attributes.values() for v in values) for item in items],
    }
    words_by_field = {name: [words(text) for text in of_field] for name, of_field in texts.items()}
    paths = [[CATEGORY_SEPARATOR.join(item.category[: n + 1]) for n in range(len(item.category))] for item in items]
    pairs = [sorted(f"{name}={v}" for name, values in item.attributes.items() for v in values) for item in items]
    vocabularies = {
        "word": _vocabulary(w for of_field in words_by_field.values() for of_product in of_field for w in of_product),
        "brand": _vocabulary(item.brand for item in items if item.brand),
        "category": _vocabulary(path for of_product in paths for path in of_product),
        "attribute": _vocabulary(pair for of_product in pairs for pair in of_product),
        "currency": _vocabulary(item.currency for item in items),
    }
    return ProductColumns(
        product_ids=tuple(ProductId(f"p{n:03d}") for n in range(len(items))),
        price_minor=np.array([item.price for item in items], np.float64),
        in_stock=np.array([item.in_stock for item in items], np.float64),
        updated_at_s=np.array([i.updated_at.timestamp() if i.updated_at else np.nan for i in items], np.float64),
        num_images=np.array([item.num_images for item in items], np.float64),
        description_chars=np.array([len(item.description) for item in items], np.float64),
        is_zh=np.array([item.is_zh for item in items], np.float64),
        currency=np.array([-1 if np.isnan(i.price) else vocabularies["currency"][i.currency] for i in items], np.int32),
        brand=np.array([vocabularies["brand"].get(item.brand, -1) for item in items], np.int32),
        categories=_ragged(paths, vocabularies["category"]),
        attributes=_ragged(pairs, vocabularies["attribute"]),
        words={name: _ragged(of_field, vocabularies["word"]) for name, of_field in words_by_field.items()},
        vocabularies=vocabularies,
    )


def encoded_query(
    text: str | None, *, image: bytes | None = None, locale: str = "en", at: datetime = NOON
) -> EncodedQuery:
    """A query without vectors: features read scores, not vectors."""
    return EncodedQuery(query=Query(request_id=RequestId("q"), text=text, image=image, locale=locale, asked_at=at))


def candidates_of(
    rows: Sequence[int],
    *,
    scores: Sequence[Sequence[float]] | None = None,
    ranks: Sequence[Sequence[int]] | None = None,
    fused: Sequence[float] | None = None,
) -> Candidates:
    """Candidates of one query; default: no retriever returned or scored anything."""
    count = len(rows)
    candidates = Candidates(
        release_id=RELEASE,
        rows_C=np.array(rows, np.int64),
        retrievers=RETRIEVERS,
        scores_CR=_full([] if scores is None else scores, count, np.nan).astype(np.float32),
        ranks_CR=_full([] if ranks is None else ranks, count, 0).astype(np.int32),
        views_C=np.full(count, -1, np.int32),
    )
    return candidates if fused is None else candidates.with_fused(np.array(fused))


def _full(values: Sequence[Sequence[float]], count: int, default: float) -> NDArray[np.float64]:
    """A column per retriever; those after the given ones have the default."""
    full = np.full((count, len(RETRIEVERS)), default, np.float64)
    for row, of_row in enumerate(values):
        full[row, : len(of_row)] = of_row
    return full


def event(number: int, kind: EventKind, product: str, *, at: datetime = NOON, dwell_ms: int | None = None) -> Event:
    """An event that was received at the time it happened."""
    return Event(
        event_id=EventId(f"e{number}"),
        request_id=RequestId("q"),
        release_id=RELEASE,
        kind=kind,
        product_id=ProductId(product),
        dwell_ms=dwell_ms,
        occurred_at=at,
        received_at=at,
    )


def take(frame: CandidateFrame, rows: NDArray[np.int64]) -> CandidateFrame:
    """Rows of a frame as one group, for splitting and permuting frames."""

    def of(column: Column) -> Column:
        return column.take(rows) if isinstance(column, Ragged) else column[rows]

    return CandidateFrame(
        columns={name: of(column) for name, column in frame.columns.items()},
        group_offsets=np.array([0, len(rows)], np.int64),
    )


class ExactVectors:
    """Stored vectors of a few rows, searched exactly."""

    def __init__(self, by_row: Mapping[int, Sequence[Sequence[float]]], dim: int) -> None:
        self._by_row = {row: _unit_rows(np.array(vectors, np.float64)) for row, vectors in by_row.items()}
        self._dim = dim

    def vectors_of(self, row: int) -> NDArray[np.float32]:
        return self._by_row.get(row, np.empty((0, self._dim), np.float32))

    def score_rows(
        self, query_D: NDArray[np.float32], rows_C: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        scores, views = np.full(len(rows_C), np.nan, np.float32), np.full(len(rows_C), -1, np.int32)
        for c, row in enumerate(rows_C):
            if len(vectors := self.vectors_of(int(row))):
                cosines = np.vecdot(vectors, query_D)
                scores[c], views[c] = cosines.max(), cosines.argmax()
        return scores, views


def query_vector(values: Sequence[float]) -> QueryVector:
    """A unit query vector of the test space."""
    return QueryVector(space_id=SPACE, values_D=_unit_rows(np.array([values], np.float64))[0])


def _unit_rows(vectors_VD: NDArray[np.float64]) -> NDArray[np.float32]:
    lengths_V1 = np.linalg.norm(vectors_VD, axis=1, keepdims=True)  # not by intarsia.maths: tests compare with it
    return np.asarray(vectors_VD / lengths_V1, np.float32)


def _vocabulary(keys: object) -> dict[str, int]:
    return {key: code for code, key in enumerate(sorted(set(keys)))}  # type: ignore[call-overload]


def _ragged(rows: Sequence[Sequence[str]], vocabulary: Mapping[str, int]) -> Ragged:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Ragged(np.array([vocabulary[key] for row in rows for key in row], np.int32), offsets)
