"""A release whose fusion reads vectors: opened like any other, it answers every kind of query by the vectors of its own indexes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intarsia.engine.fuse import (
    open_encoded_indexes,
    open_fuse,
    open_fuse_crossed,
    product_vectors,
)
from intarsia.engine.search import SearchEngine
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
ASKED = {
    "text": ask("red bag"),
    "image": ask(image=image("blue")),
    "both": ask("连衣裙", image=image("green")),
    "seeds": ask(seed_product_ids=SEEDS),
}


def opened(use: str = "with_scores") -> SearchEngine:
    return SearchEngine.open(gated_release(use), release_id=ReleaseId("r-gated"))  # type: ignore[arg-type]


def found_by(engine: SearchEngine, query: Query) -> Candidates:
    return engine.retrieve.retrieve([engine.encoders.encode(query)])[0]


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_a_query_is_answered_by_the_fusion_that_was_fitted(asked: Query) -> None:
    engine = opened()
    page = engine.search([asked])[0]
    fitted = gated().full.fuse(found_by(engine, asked))
    assert fitted.fused_C is not None
    assert page.degraded == ()
    assert {hit.row: hit.fused for hit in page.hits} == dict(
        zip(fitted.rows_C.tolist(), fitted.fused_C.tolist(), strict=True)
    )
    assert len(page.hits) > 5
    to_jsonable = SHOP.engine().search([asked])[0]
    assert {hit.fused for hit in page.hits} != {hit.fused for hit in to_jsonable.hits}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_alone_it_orders_by_the_vectors_of_the_query_and_of_the_releases_products(asked: Query) -> None:
    engine = opened("only")
    found = found_by(engine, asked)
    assert ("text" in found.query_vectors) == (asked.text is not None or bool(asked.seed_product_ids))
    assert ("image" in found.query_vectors) == (asked.image is not None or bool(asked.seed_product_ids))
    fused = engine.fuser.fuse(found)
    assert fused.fused_C is not None
    fuser = gated("only").full
    assert isinstance(fuser, FeatureFuser)
    of_the_shop = product_vectors(SHOP.engine().retrieve.vectors)
    scores_C = fuser.scorer.score(found.query_vectors, of_the_shop, fused.rows_C)
    assert len(set(scores_C.tolist())) > 3
    assert best_first(fused.fused_C, fused.rows_C).tolist() == best_first(scores_C, fused.rows_C).tolist()


def test_only_a_kind_that_reads_vectors_is_given_them() -> None:
    indexes = open_encoded_indexes(gated_release() / "indexes")
    assert set(indexes) == {"text", "image"}
    with pytest.raises(ConfigError, match="fusion kind gated reads the vectors of products; open it with them"):
        open_fuser(gated_release() / "fusion_spec")
    fuser = open_fuse(gated_release() / "fusion_spec", indexes)
    assert isinstance(fuser, FeatureFuser)
    assert fuser.products.text_ND.shape == (NUM_PRODUCTS, 8)
    open_fuse(SHOP.release / "fusion_spec", {})  # a convex one looks at no index


def test_the_folds_of_one_fusion_share_the_vectors_of_the_catalog() -> None:
    crossed = open_fuse_crossed(gated_release() / "fusion_spec", SHOP.engine().retrieve.vectors)
    assert len(crossed.folds) == NUM_FOLDS
    found = found_by(SHOP.engine(), ASKED["both"])
    for mine, fitted in zip((crossed.full, *crossed.folds), (gated().full, *gated().folds), strict=True):
        assert isinstance(mine, FeatureFuser)
        assert isinstance(crossed.full, FeatureFuser)
        assert mine.products is crossed.full.products
        scores = [fuser.fuse(found).fused_C for fuser in (mine, fitted)]
        assert scores[0] is not None
        assert scores[0].tobytes() == scores[1].tobytes()  # type: ignore[union-attr]


def test_a_query_vector_of_another_space_is_refused() -> None:
    engine = opened()
    found = found_by(engine, ASKED["text"])
    strange = replace(found.query_vectors["text"], space_id=SpaceId("another"))
    with pytest.raises(
        ReleaseMismatch, match="text vector is of space another, feature fusion was fitted on corner-text"
    ):
        engine.fuser.fuse(replace(found, query_vectors={"text": strange}))


def test_a_query_without_words_or_vectors_has_an_empty_page() -> None:
    bare = SHOP.products[SHOP.row(text=False, image=False)].product_id
    page = opened().search([ask(seed_product_ids=(bare,))])[0]
    assert page.hits == ()
    assert page.degraded == ("retriever: nothing to search by",)


def test_the_second_stage_of_a_batch_is_that_of_each_query() -> None:
    engine = opened()
    assert engine.retrieve.config == FLOORS
    together = engine.search(list(ASKED.values()))
    assert together == [engine.search([one])[0] for one in ASKED.values()]
    assert all(np.isfinite([hit.fused for hit in page.hits]).all() for page in together)
