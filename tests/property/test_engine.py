"""Properties of the whole search: candidates, counts and pages follow from the definitions only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.engine.config import EngineConfig
from intarsia.engine.retrieve import RetrieveStage
from intarsia.ids import ProductId, RequestId
from intarsia.names import RETRIEVERS, VECTOR_RETRIEVERS
from intarsia.records.candidates import Candidates
from intarsia.records.page import Hit
from intarsia.records.query import EncodedQuery, Filters, Query
from tests.oracles import best_products, passes, retrieved_by_definition
from tests.unit.engine.small_release import COLOURS, NUM_PRODUCTS, THINGS, CornerShop, ask, image, rows_of, shop

FACETS = ("brand", "category", "price", "in_stock", "attributes.color")
PRODUCT_IDS = st.integers(0, NUM_PRODUCTS - 1).map(lambda number: ProductId(f"p{number:03d}"))
SEEDS = st.lists(PRODUCT_IDS, max_size=2, unique=True).map(tuple)
SHOPS = st.integers(0, 2).map(shop)
TEXTS = st.lists(st.sampled_from((*COLOURS, *THINGS, "Acorn", "cotton", "unheard")), min_size=1, max_size=3).map(
    " ".join
)
IMAGES = st.builds(image, st.sampled_from(COLOURS), st.integers(0, 3))
FLOOR = st.sampled_from([-1.0, 0.0, 0.3, 0.8, 1.0])
CONFIGS = st.builds(
    EngineConfig,
    depth=st.integers(1, 70),
    rank_depth=st.integers(1, 70),
    text_floor=FLOOR,
    image_floor=FLOOR,
    aligned_floor=FLOOR,
)
FILTERS = st.builds(
    lambda prices, **rest: Filters(price_min=prices[0], price_max=prices[1], **rest),
    st.sampled_from([(None, None), (500, None), (None, 1500), (500, 1500)]),
    category=st.sampled_from([(), (), ("Home",), ("home", "kitchen"), ("Nowhere",)]),
    brands=st.sampled_from([(), (), ("acorn", "Luma"), ("青竹",)]),
    attributes=st.sampled_from([{}, {}, {"material": ("cotton",)}, {"Material": ("cotton", "linen")}]),
    in_stock=st.sampled_from([None, None, True, False]),
    exclude=st.lists(PRODUCT_IDS, max_size=3).map(tuple),
)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    """Any combination of text, image and seeds, with filters."""
    parts = st.tuples(st.none() | TEXTS, st.none() | IMAGES, SEEDS)
    text, image, seeds = draw(parts.filter(any))
    return ask(text, image=image, seed_product_ids=seeds, filters=draw(FILTERS))


def retrieved(stage: RetrieveStage, encoded: EncodedQuery, **config: Any) -> Candidates:
    """The candidates of one query, with changed settings of the stage."""
    return replace(stage, config=replace(stage.config, **config)).retrieve([encoded])[0]


def known_scores(
    of: CornerShop, stage: RetrieveStage, query: Query, candidates: Candidates
) -> dict[str, dict[int, float]]:
    """Retriever -> row -> score, by exact search with the query vectors that the stage used."""
    scores = {"bm25": dict(enumerate(stage.bm25.scores(query.text).tolist()))} if query.text else {}
    for name, vector in candidates.query_vectors.items():
        vectors_VD, rows_V, _ = of.vectors[name]
        hits = best_products(vectors_VD, rows_V, vector.values_D, NUM_PRODUCTS, range(NUM_PRODUCTS))
        scores[name] = {row: score for row, score, _ in hits}
    return scores


@settings(max_examples=80)
@given(of=SHOPS, query=queries(), config=CONFIGS)
def test_candidates_and_totals_are_those_of_the_definition(of: CornerShop, query: Query, config: EngineConfig) -> None:
    engine = of.engine(config)
    candidates = engine.retrieve.retrieve([engine.encoders.encode(query)])[0]
    filters = replace(query.filters, exclude=(*query.filters.exclude, *query.seed_product_ids))
    allowed = [row for row, product in enumerate(of.products) if passes(product, filters)]
    scores = known_scores(of, engine.retrieve, query, candidates)
    floors = {name: float(np.float32(config.floor_of(name))) for name in VECTOR_RETRIEVERS}
    matches, shortlists = retrieved_by_definition(scores, allowed, depth=config.depth, floors=floors)
    rows = sorted({row for shortlist in shortlists.values() for row in shortlist})
    assert candidates.rows_C.tolist() == rows
    assert candidates.num_matches == len(matches)
    for r, name in enumerate(RETRIEVERS):
        ranks = {row: position for position, row in enumerate(shortlists.get(name, []), start=1)}
        assert candidates.ranks_CR[:, r].tolist() == [ranks.get(row, 0) for row in rows]
        complete = [scores.get(name, {}).get(row, float("nan")) for row in rows]
        np.testing.assert_array_equal(candidates.scores_CR[:, r], np.array(complete, np.float32))


@settings(max_examples=40)
@given(of=SHOPS, query=queries(), depth=st.integers(1, 30), filters=FILTERS)
def test_a_candidates_scores_do_not_depend_on_the_others(
    of: CornerShop, query: Query, depth: int, filters: Filters
) -> None:
    engine = of.engine()
    encoded = engine.encoders.encode(replace(query, filters=Filters()))
    whole = retrieved(engine.retrieve, encoded, depth=NUM_PRODUCTS)
    fewer = retrieved(engine.retrieve, replace(encoded, query=replace(query, filters=filters)), depth=depth)
    position = {row: c for c, row in enumerate(whole.rows_C.tolist())}
    for c, row in enumerate(fewer.rows_C.tolist()):
        d = position[row]
        assert fewer.scores_CR[c].tobytes() == whole.scores_CR[d].tobytes()
        assert fewer.views_C[c] == whole.views_C[d]


@settings(max_examples=40)
@given(of=SHOPS, query=queries(), config=CONFIGS)
def test_a_facets_count_is_the_total_after_filtering_for_it(of: CornerShop, query: Query, config: EngineConfig) -> None:
    engine = of.engine(config)
    encoded = engine.encoders.encode(replace(query, facets=FACETS))
    candidates = engine.retrieve.retrieve([encoded])[0]
    assert set(candidates.facets) == set(FACETS)
    for name, values in candidates.facets.items():
        for value in values:
            narrower = replace(encoded, query=replace(query, filters=also(query.filters, name, value.value)))
            assert engine.retrieve.retrieve([narrower])[0].num_matches == value.count, (name, value)


def also(filters: Filters, name: str, value: str) -> Filters:
    """The filters and that of a facet's value."""
    if name == "brand":
        return replace(filters, brands=(value,))  # it is one of the brands that were asked for
    if name == "category":
        path = tuple(value.split(" > "))
        return replace(filters, category=max(path, filters.category, key=len))  # one begins with the other
    if name == "price":
        low, high = map(int, value.split("-"))
        drawn = (filters.price_min or 0, high if filters.price_max is None else filters.price_max)
        return replace(filters, price_min=max(low, drawn[0]), price_max=min(high, drawn[1]))
    if name == "in_stock":
        return replace(filters, in_stock=json.loads(value))
    attributes: Mapping[str, tuple[str, ...]] = {**filters.attributes, name.partition(".")[2]: (value,)}
    return replace(filters, attributes=attributes)


@settings(max_examples=25)
@given(of=SHOPS, query=queries(), config=CONFIGS, data=st.data())
def test_pages_of_any_size_are_slices_of_one_order(
    of: CornerShop, query: Query, config: EngineConfig, data: st.DataObject
) -> None:
    engine = of.engine(config)
    whole = engine.search([query])[0]
    assert whole.reachable == len(whole.hits) <= min(config.rank_depth, whole.total)
    assert [hit.position for hit in whole.hits] == list(range(1, whole.reachable + 1))
    assert len(set(rows_of(whole))) == whole.reachable
    offset = 0
    hits: list[Hit] = []
    while offset < whole.reachable + 3:
        limit = data.draw(st.integers(1, 25))
        page = engine.search([replace(query, offset=offset, limit=limit)])[0]
        assert (page.total, page.reachable) == (whole.total, whole.reachable)
        hits += page.hits
        offset += limit
    assert tuple(hits) == whole.hits


@settings(max_examples=15)
@given(of=SHOPS, drawn=st.lists(queries(), max_size=4), config=CONFIGS, explain=st.booleans())
def test_a_batch_is_answered_as_its_queries_one_by_one(
    of: CornerShop, drawn: list[Query], config: EngineConfig, explain: bool
) -> None:
    engine = of.engine(config)
    named = [
        replace(query, request_id=RequestId(f"q{n}"), explain=explain, limit=3, facets=FACETS)
        for n, query in enumerate(drawn)
    ]
    assert engine.search(named) == [engine.search([query])[0] for query in named]


@settings(max_examples=30)
@given(of=SHOPS, query=queries())
def test_seeds_and_excluded_products_never_come_back(of: CornerShop, query: Query) -> None:
    page = of.engine(EngineConfig(text_floor=-1.0, image_floor=-1.0)).search([query])[0]
    shown = {of.products[row].product_id for row in rows_of(page)}
    assert not shown & {*query.seed_product_ids, *query.filters.exclude}
    assert all(passes(of.products[row], query.filters) for row in rows_of(page))
