"""Properties of retrieval: exact search, filters and facets equal brute force; the graph reaches its recall."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.vector_search import clustered_vectors
from intarsia.ids import ProductId, SpaceId
from intarsia.index.bm25 import Bm25Config, Bm25Index
from intarsia.index.filters import FilterIndex
from intarsia.index.vector_files import VectorIndexConfig, build_vector_index, open_vector_index
from intarsia.index.vector_index import VectorHits, VectorIndex
from intarsia.records.product import Money, Product
from intarsia.records.product_columns import CATEGORY_SEPARATOR
from intarsia.records.query import Filters
from intarsia.text import tokens
from tests.catalogs import columns_of
from tests.oracles import best_products, bm25f_score, passes

DIM = 37  # not a multiple of any SIMD width, so the tail of a dot product is tested, too


def catalog_of_vectors(num_rows: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Zero to three views per product; some vectors repeat, so that scores tie."""
    rng = np.random.default_rng(seed)
    rows_V = np.repeat(np.arange(num_rows), rng.integers(0, 4, num_rows)).astype(np.int64)
    pool = rng.standard_normal((max(1, num_rows // 2), DIM)).astype(np.float32)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    return np.ascontiguousarray(pool[rng.integers(0, len(pool), len(rows_V))]), rows_V


def opened(
    config: VectorIndexConfig, vectors_VD: NDArray[np.float32], rows_V: NDArray[np.int64], num_rows: int
) -> VectorIndex:
    with tempfile.TemporaryDirectory() as folder:  # mapped files stay readable after they are unlinked
        build_vector_index(config, SpaceId("s"), vectors_VD, rows_V, num_rows, Path(folder))
        return open_vector_index(Path(folder))


def hits_of(hits: VectorHits, q: int) -> list[tuple[int, float, int]]:
    """The list of one query without its padding."""
    length = int((hits.rows_Qk[q] >= 0).sum())
    columns = (array[q, :length].tolist() for array in hits)
    return list(zip(*columns, strict=True))


@settings(max_examples=60)
@given(
    num_rows=st.integers(1, 60),
    k=st.integers(1, 70),
    seed=st.integers(0, 10_000),
    allowed_share=st.sampled_from([None, 0.0, 0.1, 0.5, 1.0]),
    graph=st.booleans(),
)
def test_exact_and_filtered_search_equal_the_oracle_bitwise(
    num_rows: int, k: int, seed: int, allowed_share: float | None, graph: bool
) -> None:
    vectors_VD, rows_V = catalog_of_vectors(num_rows, seed)
    rng = np.random.default_rng(seed + 1)
    index = opened(VectorIndexConfig(exact_up_to=0 if graph else 1000), vectors_VD, rows_V, num_rows)
    allowed_N = None if allowed_share is None else rng.random(num_rows) < allowed_share
    queries_QD, _ = catalog_of_vectors(3, seed + 2)
    allowed = set(range(num_rows)) if allowed_N is None else set(np.flatnonzero(allowed_N).tolist())
    hits = index.search(queries_QD, k, allowed_N)
    for q, query_D in enumerate(queries_QD):
        assert hits_of(hits, q) == best_products(vectors_VD, rows_V, query_D, k, allowed)


@settings(max_examples=40)
@given(num_rows=st.integers(1, 40), seed=st.integers(0, 10_000), floor=st.sampled_from([-1.0, 0.0, 0.2, 1.0]))
def test_a_score_does_not_depend_on_other_rows(num_rows: int, seed: int, floor: float) -> None:
    vectors_VD, rows_V = catalog_of_vectors(num_rows, seed)
    index = opened(VectorIndexConfig(), vectors_VD, rows_V, num_rows)
    query_D = vectors_VD[0] if len(vectors_VD) else np.ones(DIM, np.float32) / np.float32(np.sqrt(DIM))
    rows_C = np.random.default_rng(seed).permutation(num_rows)
    scores_C, views_C = index.score_rows(query_D, rows_C)
    for row, score, view in zip(rows_C, scores_C, views_C, strict=True):
        single_score, single_view = index.score_rows(query_D, np.array([row]))
        assert single_score.tobytes() == score.tobytes()
        assert single_view[0] == view
    assert index.matches(query_D, floor)[rows_C].tolist() == [bool(score >= np.float32(floor)) for score in scores_C]


def test_the_graph_reaches_its_recall_and_scores_exactly() -> None:
    num_views, k = 6000, 100
    vectors_VD = clustered_vectors(num_views, dim=64, num_clusters=60, seed=1)
    queries_QD = clustered_vectors(40, dim=64, num_clusters=60, seed=2)
    rows_V = np.arange(num_views) // 2  # two views per product
    exact = opened(VectorIndexConfig(), vectors_VD, rows_V, num_views // 2).search(queries_QD, k, None)
    index = opened(VectorIndexConfig(exact_up_to=0), vectors_VD, rows_V, num_views // 2)
    hits = index.search(queries_QD, k, None)
    shared = [len(set(a) & set(b)) for a, b in zip(hits.rows_Qk.tolist(), exact.rows_Qk.tolist(), strict=True)]
    assert np.mean(shared) / k >= 0.95
    assert (hits.rows_Qk >= 0).all()
    for q, query_D in enumerate(queries_QD):
        scores, views = index.score_rows(query_D, hits.rows_Qk[q])
        assert hits.scores_Qk[q].tobytes() == scores.tobytes()
        assert hits.views_Qk[q].tolist() == views.tolist()
        order = np.lexsort((hits.rows_Qk[q], -scores))
        assert order.tolist() == list(range(k))


WORDS = st.lists(st.sampled_from(["red", "Shoe", "shoes", "wine", "红色", "运动鞋", "鞋", "x1"]), max_size=6).map(
    " ".join
)
TEXTS = st.fixed_dictionaries({"title": WORDS, "description": WORDS})


@settings(max_examples=60)
@given(
    catalog=st.lists(TEXTS, min_size=1, max_size=8), query=WORDS, k1=st.sampled_from([0.0, 1.0, 2.5]), b=st.floats(0, 1)
)
def test_bm25f_equals_its_definition(catalog: list[dict[str, str]], query: str, k1: float, b: float) -> None:
    weights = {"title": 1.0, "description": 0.4}
    fields = {name: [texts[name] for texts in catalog] for name in weights}
    scores = Bm25Index.build(Bm25Config(k1=k1, b=b, weights=weights), fields).scores(query)
    tokenised = [{name: tokens(content) for name, content in texts.items()} for texts in catalog]
    for product, score in zip(tokenised, scores, strict=True):
        wanted = bm25f_score(tokens(query), product, tokenised, k1=k1, b=b, weights=weights)
        assert score == pytest.approx(wanted, rel=1e-5)
        assert (score > 0) == any(set(tokens(query)) & set(of_field) for of_field in product.values())


BRANDS, COLOURS, SIZES = ("Acme", "ACME", "耐克", "Büro"), ("red", "Red", "紅色", "红色"), ("S", "M")
PATHS = (("Shoes",), ("Shoes", "Boots"), ("shoes", "Boots"), ("Bags",), ("Bags", "Boots"))
PRODUCTS = st.fixed_dictionaries(
    {
        "brand": st.sampled_from(("", *BRANDS)),
        "category_path": st.sampled_from(((), *PATHS)),
        "price": st.none() | st.sampled_from([0, 99, 100, 199, 200, 500, 123_456]),
        "in_stock": st.sampled_from([None, True, False]),
        "attributes": st.fixed_dictionaries(
            {},
            optional={
                "color": st.lists(st.sampled_from(COLOURS), min_size=1, unique=True),
                "Color": st.lists(st.sampled_from(COLOURS), min_size=1, unique=True),
                "size": st.lists(st.sampled_from(SIZES), min_size=1, unique=True),
            },
        ),
    }
)
SHOPS = st.lists(PRODUCTS, max_size=12).map(
    lambda drawn: [
        Product(
            product_id=ProductId(f"p{number:02}"),
            title="x",
            brand=fields["brand"],
            category_path=fields["category_path"],
            price=None if fields["price"] is None else Money(minor_units=fields["price"], currency="EUR"),
            in_stock=fields["in_stock"],
            attributes={name: tuple(values) for name, values in fields["attributes"].items()},
        )
        for number, fields in enumerate(drawn)
    ]
)
FILTERS = st.builds(
    Filters,
    category=st.sampled_from(((), *PATHS, ("bags",), ("Boots",))),
    brands=st.lists(st.sampled_from((*BRANDS, "buro", "nobody")), max_size=2).map(tuple),
    price_min=st.none() | st.sampled_from([0, 100, 199]),
    price_max=st.none() | st.sampled_from([199, 500, 200_000]),
    attributes=st.dictionaries(
        st.sampled_from(("color", "COLOR", "size", "weight")),
        st.lists(st.sampled_from((*COLOURS, *SIZES)), min_size=1, max_size=2).map(tuple),
        max_size=2,
    ),
    in_stock=st.sampled_from([None, True, False]),
    exclude=st.lists(st.sampled_from(["p00", "p03", "q"]), max_size=2).map(tuple),
)
FACET_NAMES = ("brand", "category", "price", "in_stock", "attributes.color", "attributes.size")


def filter_of(name: str, value: str) -> Filters:
    """The filter a shopper sets by choosing a facet value."""
    if name == "brand":
        return Filters(brands=(value,))
    if name == "category":
        return Filters(category=tuple(value.split(CATEGORY_SEPARATOR)))
    if name == "price":
        low, high = map(int, value.split("-"))
        return Filters(price_min=low, price_max=high)
    if name == "in_stock":
        return Filters(in_stock=value == "true")
    return Filters(attributes={name.removeprefix("attributes."): (value,)})


@settings(max_examples=150)
@given(shop=SHOPS, filters=FILTERS)
def test_a_filter_allows_exactly_what_brute_force_allows(shop: list[Product], filters: Filters) -> None:
    mask_N = FilterIndex(columns_of(shop)).allowed(filters)
    allowed = [True] * len(shop) if mask_N is None else mask_N.tolist()
    assert allowed == [passes(product, filters) for product in shop]


@settings(max_examples=100)
@given(shop=SHOPS, filters=FILTERS)
def test_the_count_of_a_facet_value_is_the_total_after_filtering_by_it(shop: list[Product], filters: Filters) -> None:
    index = FilterIndex(columns_of(shop))
    matching = [passes(product, filters) for product in shop]
    facets = index.facets(np.array(matching, np.bool_), FACET_NAMES, top=100)
    for name, values in facets.items():
        covered = [False] * len(shop)
        for value in values:
            having = [
                match and passes(p, filter_of(name, value.value)) for match, p in zip(matching, shop, strict=True)
            ]
            assert value.count == sum(having) > 0
            covered = [before or now for before, now in zip(covered, having, strict=True)]
        has_value = {
            "brand": lambda p: bool(p.brand),
            "category": lambda p: bool(p.category_path),
            "price": lambda p: p.price is not None,
            "in_stock": lambda p: p.in_stock is not None,
            "attributes.color": lambda p: "color" in p.attributes or "Color" in p.attributes,
            "attributes.size": lambda p: "size" in p.attributes,
        }[name]
        assert covered == [match and has_value(p) for match, p in zip(matching, shop, strict=True)], name
