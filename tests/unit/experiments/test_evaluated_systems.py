"""Each system of an evaluation orders as its slow twin does."""

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


def test_there_is_an_order_of_every_query_for_every_system() -> None:
    assert list(ORDERS) == [*RETRIEVERS, "rrf", "equal weights", FUSED, RANKED]
    assert {len(orders) for orders in ORDERS.values()} == {len(JUDGED)}
    assert all(len(set(order.tolist())) == len(order) for orders in ORDERS.values() for order in orders)


@pytest.mark.parametrize("name", RETRIEVERS)
def test_a_retriever_alone_orders_the_best_of_what_it_says_yes_to(name: str) -> None:
    for each, order in zip(JUDGED, ORDERS[name], strict=True):
        scores_C = each.candidates.scores_CR[:, RETRIEVERS.index(name)]
        yes_C = scores_C > 0 if name == "bm25" else scores_C >= FLOOR[name]
        scores = dict(zip(each.candidates.rows_C[yes_C].tolist(), scores_C[yes_C].tolist(), strict=True))
        assert order.tolist() == best_order(scores)[: FLOORS.depth]
    assert any(len(order) for order in ORDERS[name])


@pytest.mark.parametrize(
    ("name", "spec"), [*PLAIN_FUSIONS.items(), (FUSED, FusionSpec.open(SHOP.release / "fusion_spec"))]
)
def test_a_fusion_orders_all_candidates_by_its_definition(name: str, spec: FusionSpec) -> None:
    for each, order in zip(JUDGED, ORDERS[name], strict=True):
        scores = fused_by_definition(each.candidates, spec)
        assert sorted(order.tolist()) == sorted(scores)
        for better, worse in pairwise(order.tolist()):
            assert scores[better] >= scores[worse] - 1e-6  # the house orders by float32
            assert scores[better] != scores[worse] or better < worse


def test_the_ranked_order_is_the_page_that_would_be_shown() -> None:
    asked_at = catalog_time(ENGINE.retrieve)
    queries = [as_query(each.judged, asked_at, limit=NUM_PRODUCTS) for each in JUDGED]
    pages = [rows_of(page) for page in ENGINE.search(queries)]
    same = [order.tolist() == page for order, page in zip(ORDERS[RANKED], pages, strict=True)]
    assert all(same[at] for at, each in enumerate(JUDGED) if each.judged.split != "train" or not each.judged.text)
    assert max(map(len, ORDERS[RANKED])) == 8 < max(map(len, ORDERS[FUSED]))


def test_no_queries_give_every_system_nothing() -> None:
    assert set(map(len, all_orders([], ENGINE.fuser, ENGINE.rank).values())) == {0}
