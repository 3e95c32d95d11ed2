"""The order of each system of an evaluation equals that of a slow reference implementation."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from intarsia.experiments.evaluated_systems import FUSED, PLAIN_FUSIONS, RANKED, all_orders
from intarsia.experiments.judged_candidates import as_query, catalog_time, read_judged, retrieve_judged
from intarsia.fusion.spec import FusionSpec
from intarsia.names import RETRIEVERS, VECTOR_RETRIEVERS
from intarsia.records.judgment import SPLITS
from tests.oracles import best_order, fused_by_definition
from tests.unit.engine.small_release import FLOORS, NUM_PRODUCTS, rows_of, shop

SHOP = shop()
ENGINE = SHOP.engine(replace(FLOORS, rank_depth=8))
JUDGED = retrieve_judged(ENGINE.encoders, ENGINE.retrieve, *read_judged(SHOP.lake, SPLITS), lambda *_: None)
ORDERS = all_orders(JUDGED, ENGINE.fuser, ENGINE.rank)
FLOOR = {name: np.float32(FLOORS.floor_of(name)) for name in VECTOR_RETRIEVERS}


def test_every_system_orders_every_query() -> None:
    assert list(ORDERS) == [*RETRIEVERS, "rrf", "equal weights", FUSED, RANKED]
    assert {len(orders) for orders in ORDERS.values()} == {len(JUDGED)}
    assert all(len(set(order.tolist())) == len(order) for orders in ORDERS.values() for order in orders)


@pytest.mark.parametrize("name", RETRIEVERS)
def test_a_retriever_orders_the_best_of_its_matches(name: str) -> None:
    for query, order in zip(JUDGED, ORDERS[name], strict=True):
        scores_C = query.candidates.scores_CR[:, RETRIEVERS.index(name)]
        matches_C = scores_C > 0 if name == "bm25" else scores_C >= FLOOR[name]
        scores = dict(zip(query.candidates.rows_C[matches_C].tolist(), scores_C[matches_C].tolist(), strict=True))
        assert order.tolist() == best_order(scores)[: FLOORS.depth]
    assert any(len(order) for order in ORDERS[name])


@pytest.mark.parametrize(
    ("name", "spec"), [*PLAIN_FUSIONS.items(), (FUSED, FusionSpec.open(SHOP.release / "fusion_spec"))]
)
def test_a_fusion_orders_all_candidates_by_its_definition(name: str, spec: FusionSpec) -> None:
    for query, order in zip(JUDGED, ORDERS[name], strict=True):
        scores = fused_by_definition(query.candidates, spec)
        assert sorted(order.tolist()) == sorted(scores)
        for better, worse in pairwise(order.tolist()):
            assert scores[better] >= scores[worse] - 1e-6  # orders are by float32 scores
            assert scores[better] != scores[worse] or better < worse


def test_the_ranked_order_equals_the_served_page() -> None:
    asked_at = catalog_time(ENGINE.retrieve)
    queries = [as_query(query.judged, asked_at, limit=NUM_PRODUCTS) for query in JUDGED]
    pages = [rows_of(page) for page in ENGINE.search(queries)]
    same = [order.tolist() == page for order, page in zip(ORDERS[RANKED], pages, strict=True)]
    assert all(same[at] for at, query in enumerate(JUDGED) if query.judged.split != "train" or not query.judged.text)
    assert max(map(len, ORDERS[RANKED])) == 8 < max(map(len, ORDERS[FUSED]))


def test_without_queries_every_system_has_no_order() -> None:
    assert set(map(len, all_orders([], ENGINE.fuser, ENGINE.rank).values())) == {0}
