"""Hypothesis strategies for the records.

Texts mix English, simplified and traditional Chinese, full width, accents and control characters, as products and
queries do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
from hypothesis import strategies as st

from intarsia.ids import EventId, ProductId, QueryId, ReleaseId, RequestId, SpaceId
from intarsia.records.candidates import Candidates
from intarsia.records.event import EVENT_KINDS, Event
from intarsia.records.feature_matrix import CandidateFrame, Column, Ragged
from intarsia.records.judgment import SPLITS, JudgedQuery, Judgment
from intarsia.records.product import Attributes, ImageRef, Money, Product
from intarsia.records.product_columns import CATEGORY_SEPARATOR, WORD_FIELDS, ProductColumns
from intarsia.records.query import Filters, Query, QueryVector
from intarsia.text import words
from tests.catalogs import columns_of, ragged

RELEASE = ReleaseId("r-0123456789ab")
CURRENCIES = ("USD", "EUR", "CNY", "JPY")
RETRIEVERS = ("bm25", "text", "image", "aligned")
_PHRASES = (
    "red running shoes",
    "Women's cotton T-shirt, size M",
    "红色连衣裙",
    "紅色連衣裙",
    "ＡＢＣ１２３",
    "Café crème",
    "无线 蓝牙耳机 Pro",
    "乾隆 乾燥",
    "5.5 inch phone",
)
_PARTS = st.sampled_from(_PHRASES) | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def texts(*, min_size: int = 0) -> st.SearchStrategy[str]:
    """Product phrases mixed with arbitrary Unicode text, without surrogates."""
    return st.lists(_PARTS, max_size=4).map(" ".join).filter(lambda text: len(text) >= min_size)


def names() -> st.SearchStrategy[str]:
    """Short names of brands, categories or attributes; never blank."""
    return st.sampled_from(("red", "蓝色", "Nike", "cotton", "Öko", "L", "a b", "7")) | st.from_regex(
        r"[a-z]{1,6}", fullmatch=True
    )


def ids(prefix: str, *, num: int = 50) -> st.SearchStrategy[str]:
    """Ids with a prefix; few enough to repeat."""
    return st.integers(0, num - 1).map(lambda number: f"{prefix}{number:04d}")


def times() -> st.SearchStrategy[datetime]:
    """Times with a time zone and microseconds, between 1990 and 2060."""
    zones = st.sampled_from((UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-5, minutes=-30))))
    return st.builds(
        datetime.replace,
        st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2060, 1, 1)),
        tzinfo=zones,
    )


def money() -> st.SearchStrategy[Money]:
    """Prices from 0 to the largest that a table can store."""
    return st.builds(Money, minor_units=st.integers(0, 2**63 - 1), currency=st.sampled_from(CURRENCIES))


def image_refs() -> st.SearchStrategy[ImageRef]:
    """Image references of a product, without bytes."""
    return st.builds(
        ImageRef,
        source=ids("images/").map(lambda name: f"{name}.jpg"),
        sha256=st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}"),
        width=st.integers(1, 10_000),
        height=st.integers(1, 10_000),
        phash=st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}"),
    )


def attributes() -> st.SearchStrategy[Attributes]:
    """Attribute name -> values."""
    return st.dictionaries(names(), st.lists(names(), min_size=1, max_size=3, unique=True).map(tuple), max_size=3)


def products(product_ids: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Product]:
    """Any clean product; optional values are often missing."""
    return st.builds(
        Product,
        product_id=(product_ids or ids("p")).map(ProductId),
        title=texts(min_size=1),
        description=texts(),
        brand=st.just("") | names(),
        category_path=st.lists(names(), max_size=3).map(tuple),
        price=st.none() | money(),
        images=st.lists(image_refs(), max_size=3).map(tuple),
        attributes=attributes(),
        in_stock=st.none() | st.booleans(),
        locale=st.sampled_from(("en", "zh")),
        updated_at=st.none() | times(),
    )


def catalogs(*, min_size: int = 0, max_size: int = 8) -> st.SearchStrategy[list[Product]]:
    """Products sorted by id, without repeated ids."""
    return st.lists(products(), min_size=min_size, max_size=max_size, unique_by=lambda p: p.product_id).map(
        lambda drawn: sorted(drawn, key=lambda p: p.product_id)
    )


def product_columns(*, min_size: int = 0, max_size: int = 8) -> st.SearchStrategy[ProductColumns]:
    """The columns of a catalog, with words."""
    return catalogs(min_size=min_size, max_size=max_size).map(_with_words)


def filters() -> st.SearchStrategy[Filters]:
    """Filters; each condition is often empty, and price_min <= price_max."""
    prices = st.tuples(st.none() | st.integers(0, 1000), st.none() | st.integers(1000, 10**6))
    return st.builds(
        lambda price, **rest: Filters(price_min=price[0], price_max=price[1], **rest),
        prices,
        category=st.lists(names(), max_size=2).map(tuple),
        brands=st.lists(names(), max_size=2).map(tuple),
        attributes=attributes(),
        in_stock=st.none() | st.booleans(),
        exclude=st.lists(ids("p").map(ProductId), max_size=2).map(tuple),
    )


def queries() -> st.SearchStrategy[Query]:
    """Any valid query: text, image bytes (not decodable), seed products and user in any combination."""
    parts = st.fixed_dictionaries(
        {
            "text": st.none() | texts(min_size=1),
            "image": st.none() | st.binary(min_size=1, max_size=8),
            "seed_product_ids": st.lists(ids("p").map(ProductId), max_size=2).map(tuple),
            "user_id": st.none() | ids("u"),
        }
    ).filter(lambda values: any(values.values()))
    return st.builds(
        lambda values, **rest: Query(**values, **rest),
        parts,
        request_id=ids("q").map(RequestId),
        session_id=st.none() | ids("s"),
        filters=filters(),
        locale=st.sampled_from(("en", "zh")),
        asked_at=times(),
        offset=st.integers(0, 200),
        limit=st.integers(1, 100),
        facets=st.lists(st.sampled_from(("brand", "category", "price", "in_stock")), unique=True).map(tuple),
        explain=st.booleans(),
    )


def judged_queries() -> st.SearchStrategy[JudgedQuery]:
    """Judged queries of the three kinds."""
    parts = st.tuples(st.none() | texts(), st.none() | st.binary(max_size=8)).filter(any)
    return st.builds(
        lambda values, **rest: JudgedQuery(text=values[0], image=values[1], **rest),
        parts,
        query_id=ids("q").map(QueryId),
        locale=st.sampled_from(("en", "zh")),
        split=st.sampled_from(SPLITS),
    )


def judgments() -> st.SearchStrategy[Judgment]:
    """Judgments with fractional grades."""
    return st.builds(
        Judgment,
        query_id=ids("q").map(QueryId),
        product_id=ids("p").map(ProductId),
        grade=st.floats(0, 3),
        source=st.sampled_from(("editorial", "click")),
        weight=st.floats(0, 1e6, exclude_min=True),
    )


def events() -> st.SearchStrategy[Event]:
    """Events of every kind, received no earlier than they occurred."""
    return st.builds(
        lambda occurred_at, delay_ms, **rest: Event(
            occurred_at=occurred_at, received_at=occurred_at + timedelta(milliseconds=delay_ms), **rest
        ),
        times(),
        st.integers(0, 10**10),
        event_id=ids("e", num=1000).map(EventId),
        request_id=ids("q").map(RequestId),
        release_id=st.just(RELEASE),
        kind=st.sampled_from(EVENT_KINDS),
        product_id=ids("p").map(ProductId),
        position=st.none() | st.integers(1, 2**31 - 1),
        value=st.none() | st.floats(allow_nan=False),
        dwell_ms=st.none() | st.integers(0, 2**53),
        user_id=st.none() | ids("u"),
        session_id=st.none() | ids("s"),
    )


@st.composite
def candidates(draw: st.DrawFn, *, max_size: int = 8, retrievers: Sequence[str] = RETRIEVERS) -> Candidates:
    """Valid candidates of one query.

    Ranks are 1.. in the order of the retriever's scores (ties by row) down to its depth, and 0 below it. Every
    candidate was returned by at least one retriever. Scores repeat often enough to give ties.
    """
    rows = sorted(draw(st.sets(st.integers(0, 1000), max_size=max_size)))
    score = st.sampled_from((-1.0, 0.0, 0.25, 0.5, 1.0, 7.5)) | st.floats(-100, 100, width=32) | st.just(float("nan"))
    first = draw(st.lists(st.floats(0, 50, width=32), min_size=len(rows), max_size=len(rows)))
    others = [draw(st.lists(score, min_size=len(rows), max_size=len(rows))) for _ in retrievers[1:]]
    scores_CR = np.array([first, *others], np.float32).reshape(len(retrievers), len(rows)).T.copy()
    depths = [len(rows), *(draw(st.integers(0, len(rows))) for _ in others)]
    views = draw(st.lists(st.integers(-1, 2), min_size=len(rows), max_size=len(rows)))
    return Candidates(
        release_id=RELEASE,
        rows_C=np.array(rows, np.int64),
        retrievers=tuple(retrievers),
        scores_CR=scores_CR,
        ranks_CR=_ranks(scores_CR, depths),
        views_C=np.array(views, np.int32),
        num_matches=len(rows) + draw(st.integers(0, 1000)),
    )


def unit_vectors(dim: int = 4, space_id: str = "space-a") -> st.SearchStrategy[QueryVector]:
    """A query vector of length 1."""
    numbers = st.lists(st.floats(-1, 1, width=32), min_size=dim, max_size=dim)
    return numbers.map(lambda values: _unit(np.array(values, np.float32), SpaceId(space_id)))


def ragged_columns(lengths: Sequence[int], *, num_codes: int = 9) -> st.SearchStrategy[Ragged]:
    """A ragged column whose lists have these lengths."""
    code = st.integers(0, num_codes - 1)
    return st.tuples(*(st.lists(code, min_size=n, max_size=n) for n in lengths)).map(lambda rows: ragged(list(rows)))


@st.composite
def frames(draw: st.DrawFn, *, max_groups: int = 3, max_rows: int = 4) -> CandidateFrame:
    """Rows of several queries (groups may be empty) with a plain, a wide and a ragged column; values may be NaN."""
    sizes = draw(st.lists(st.integers(0, max_rows), max_size=max_groups))
    num_rows = sum(sizes)
    value = st.floats(width=32)
    plain = draw(st.lists(value, min_size=num_rows, max_size=num_rows))
    wide = draw(st.lists(value, min_size=2 * num_rows, max_size=2 * num_rows))
    lengths = draw(st.lists(st.integers(0, 3), min_size=num_rows, max_size=num_rows))
    columns: dict[str, Column] = {
        "plain": np.array(plain, np.float32),
        "wide": np.array(wide, np.float32).reshape(num_rows, 2),
        "codes": draw(ragged_columns(lengths)),
    }
    return CandidateFrame(columns=columns, group_offsets=np.cumsum([0, *sizes]).astype(np.int64))


def _ranks(scores_CR: np.ndarray, depths: Sequence[int]) -> np.ndarray:
    ranks_CR = np.zeros(scores_CR.shape, np.int32)
    for r, depth in enumerate(depths):
        scored = [c for c in range(len(scores_CR)) if not np.isnan(scores_CR[c, r])]
        for position, c in enumerate(sorted(scored, key=lambda c: (-scores_CR[c, r], c))[:depth]):
            ranks_CR[c, r] = position + 1
    return ranks_CR


def _unit(values_D: np.ndarray, space_id: SpaceId) -> QueryVector:
    length = float(np.linalg.norm(values_D))
    if length < 1e-3:
        values_D, length = np.eye(1, len(values_D), dtype=np.float32)[0], 1.0
    return QueryVector(space_id=space_id, values_D=(values_D / length).astype(np.float32))


def _with_words(catalog: Sequence[Product]) -> ProductColumns:
    columns = columns_of(catalog)
    words_by_field = {
        "title": [words(p.title) for p in catalog],
        "description": [words(p.description) for p in catalog],
        "brand": [words(p.brand) for p in catalog],
        "category": [words(CATEGORY_SEPARATOR.join(p.category_path)) for p in catalog],
        "attributes": [[w for vs in p.attributes.values() for v in vs for w in words(v)] for p in catalog],
    }
    assert set(words_by_field) == set(WORD_FIELDS)
    vocabulary = {
        word: code
        for code, word in enumerate(sorted({w for rows in words_by_field.values() for row in rows for w in row}))
    }
    coded = {name: ragged([[vocabulary[w] for w in row] for row in rows]) for name, rows in words_by_field.items()}
    return replace(columns, words=coded, vocabularies={**columns.vocabularies, "word": vocabulary})
