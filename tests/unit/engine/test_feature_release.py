"""A release whose fusion reads product vectors answers every kind of query with the vectors of its own indexes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intarsia.engine.search import (
    SearchEngine,
    open_encoded_indexes,
    open_fuse,
    open_fuse_crossed,
    product_vectors,
)
from intarsia.errors import ConfigError, ReleaseMismatch
from intarsia.fusion.feature.feature_fuser import FeatureFuser
from intarsia.fusion.registry import open_fuser
from intarsia.ids import ReleaseId, SpaceId
from intarsia.records.candidates import Candidates, best_first
from intarsia.records.query import Query
from tests.unit.engine.small_fusion import NUM_FOLDS, gated, gated_release
from tests.unit.engine.small_release import FLOORS, NUM_PRODUCTS, ask, image, shop

SHOP = shop()
SEEDS = tuple(SHOP.products[SHOP.row(text=True, image=True, nth=nth)].product_id for nth in (0, 3))
QUERIES = {
    "text": ask("red bag"),
    "image": ask(image=image("blue")),
    "both": ask("连衣裙", image=image("green")),
    "seeds": ask(seed_product_ids=SEEDS),
}


def opened(use: str = "with_scores") -> SearchEngine:
    return SearchEngine.open(gated_release(use), release_id=ReleaseId("r-gated"))  # type: ignore[arg-type]


def retrieve(engine: SearchEngine, query: Query) -> Candidates:
    return engine.retrieve.retrieve([engine.encoders.encode(query)])[0]


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_is_answered_by_the_fusion_that_was_fitted(query: Query) -> None:
    engine = opened()
    page = engine.search([query])[0]
    fitted = gated().full.fuse(retrieve(engine, query))
    assert fitted.fused_C is not None
    assert page.degraded == ()
    assert {hit.row: hit.fused for hit in page.hits} == dict(
        zip(fitted.rows_C.tolist(), fitted.fused_C.tolist(), strict=True)
    )
    assert len(page.hits) > 5
    convex_page = SHOP.engine().search([query])[0]
    assert {hit.fused for hit in page.hits} != {hit.fused for hit in convex_page.hits}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_fusion_without_scores_orders_by_query_and_product_vectors(query: Query) -> None:
    engine = opened("only")
    candidates = retrieve(engine, query)
    assert ("text" in candidates.query_vectors) == (query.text is not None or bool(query.seed_product_ids))
    assert ("image" in candidates.query_vectors) == (query.image is not None or bool(query.seed_product_ids))
    fused = engine.fuser.fuse(candidates)
    assert fused.fused_C is not None
    fuser = gated("only").full
    assert isinstance(fuser, FeatureFuser)
    of_the_shop = product_vectors(SHOP.engine().retrieve.vectors)
    scores_C = fuser.scorer.score(candidates.query_vectors, of_the_shop, fused.rows_C)
    assert len(set(scores_C.tolist())) > 3
    assert best_first(fused.fused_C, fused.rows_C).tolist() == best_first(scores_C, fused.rows_C).tolist()


def test_only_a_method_that_reads_vectors_gets_them() -> None:
    indexes = open_encoded_indexes(gated_release() / "indexes")
    assert set(indexes) == {"text", "image"}
    with pytest.raises(
        ConfigError, match=r"fusion method gated reads the vectors of products\. Fix: open it with them"
    ):
        open_fuser(gated_release() / "fusion_spec")
    fuser = open_fuse(gated_release() / "fusion_spec", indexes)
    assert isinstance(fuser, FeatureFuser)
    assert fuser.products.text_ND.shape == (NUM_PRODUCTS, 8)
    open_fuse(SHOP.release / "fusion_spec", {})  # convex fusion reads no index


def test_the_folds_of_one_fusion_share_the_vectors_of_the_catalog() -> None:
    crossed = open_fuse_crossed(gated_release() / "fusion_spec", SHOP.engine().retrieve.vectors)
    assert len(crossed.folds) == NUM_FOLDS
    candidates = retrieve(SHOP.engine(), QUERIES["both"])
    for opened_fuser, fitted in zip((crossed.full, *crossed.folds), (gated().full, *gated().folds), strict=True):
        assert isinstance(opened_fuser, FeatureFuser)
        assert isinstance(crossed.full, FeatureFuser)
        assert opened_fuser.products is crossed.full.products
        scores = [fuser.fuse(candidates).fused_C for fuser in (opened_fuser, fitted)]
        assert scores[0] is not None
        assert scores[0].tobytes() == scores[1].tobytes()  # type: ignore[union-attr]


def test_a_query_vector_of_another_space_is_refused() -> None:
    engine = opened()
    candidates = retrieve(engine, QUERIES["text"])
    other_space = replace(candidates.query_vectors["text"], space_id=SpaceId("another"))
    with pytest.raises(
        ReleaseMismatch, match="text vector is of space another, feature fusion was fitted on corner-text"
    ):
        engine.fuser.fuse(replace(candidates, query_vectors={"text": other_space}))


def test_a_query_without_words_or_vectors_has_an_empty_page() -> None:
    without_vectors = SHOP.products[SHOP.row(text=False, image=False)].product_id
    page = opened().search([ask(seed_product_ids=(without_vectors,))])[0]
    assert page.hits == ()
    assert page.degraded == ("retriever: nothing to search by",)


def test_the_second_stage_of_a_batch_is_that_of_each_query() -> None:
    engine = opened()
    assert engine.retrieve.config == FLOORS
    together = engine.search(list(QUERIES.values()))
    assert together == [engine.search([one])[0] for one in QUERIES.values()]
    assert all(np.isfinite([hit.fused for hit in page.hits]).all() for page in together)
