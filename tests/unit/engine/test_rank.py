from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest

from intarsia.engine.config import EngineConfig
from intarsia.engine.rank import Ranked, best_fused, in_fused_order
from intarsia.errors import ReleaseMismatch
from intarsia.features.definition import FeatureSet
from intarsia.ids import ProductId, ReleaseId
from intarsia.records.candidates import Candidates
from intarsia.records.feature_matrix import matrix_digest
from intarsia.records.query import EncodedQuery, Query
from tests.oracles import best_order
from tests.unit.engine.small_release import FLOORS, ask, image, rows_of, shop

SHOP = shop()
ENGINE = SHOP.engine()
QUERY = ask("red bag", image=image("blue"))


def fused(query: Query = QUERY) -> tuple[EncodedQuery, Candidates]:
    encoded = ENGINE.encoders.encode(query)
    return encoded, ENGINE.fuser.fuse(ENGINE.retrieve.retrieve([encoded])[0])


def ranked(query: Query = QUERY, **changed: Any) -> Ranked:
    encoded, candidates = fused(query)
    return replace(ENGINE.rank, **changed).rank([encoded.query], [candidates])[0]


def fused_scores(candidates: Candidates) -> dict[int, float]:
    assert candidates.fused_C is not None
    return dict(zip(candidates.rows_C.tolist(), candidates.fused_C.tolist(), strict=True))


def test_the_final_order_is_by_score_and_ties_go_to_the_smaller_row() -> None:
    encoded, candidates = fused()
    matrix = ENGINE.rank.features.compute(ENGINE.rank.assembler.assemble([encoded], [candidates]))
    scores = dict(zip(candidates.rows_C.tolist(), ENGINE.rank.ranker.score(matrix).tolist(), strict=True))
    assert len(set(scores.values())) < len(scores), "some tie"
    ranked_query = ranked()
    rows = candidates.rows_C[ranked_query.order_C].tolist()
    assert rows == best_order(scores)
    assert ranked_query.scores_C.tolist() == [scores[row] for row in rows]


@pytest.mark.parametrize("depth", [1, 5, 1000])
def test_only_the_window_of_the_best_fused_is_ranked_and_reachable(depth: int) -> None:
    _, candidates = fused()
    engine = SHOP.engine(replace(FLOORS, rank_depth=depth))
    page = engine.search([QUERY])[0]
    window = best_order(fused_scores(candidates))[:depth]
    assert sorted(rows_of(page)) == sorted(window)
    assert page.reachable == len(window) <= len(candidates.rows_C) < page.total
    assert best_fused(candidates, depth).rows_C.tolist() == sorted(window)
    assert engine.search([replace(QUERY, offset=depth)])[0].hits == ()


def test_training_and_serving_use_the_same_window() -> None:
    encoded, candidates = fused()
    of_window = ENGINE.rank.rank([encoded.query], [best_fused(candidates, 5)])[0]
    window = ranked(rank_depth=5)
    assert of_window.order_C.tolist() == window.order_C.tolist()
    assert of_window.scores_C.tobytes() == window.scores_C.tobytes()


@pytest.mark.parametrize(("offset", "limit"), [(0, 4), (3, 2), (10, 100)])
def test_contributions_are_of_the_page_only_and_sum_to_the_scores(offset: int, limit: int) -> None:
    ranked_query = ranked(replace(QUERY, offset=offset, limit=limit, explain=True))
    assert set(ranked_query.contributions) == set(range(offset, min(offset + limit, len(ranked_query.order_C))))
    for index, shares in ranked_query.contributions.items():
        assert set(shares) == {*ENGINE.rank.features.names, ""}
        assert sum(shares.values()) == pytest.approx(float(ranked_query.scores_C[index]), abs=1e-6)
    assert ranked_query.scores_C.tobytes() == ranked().scores_C.tobytes()


def test_hits_have_contributions_only_with_explain() -> None:
    explained = ENGINE.search([replace(QUERY, offset=2, limit=3, explain=True)])[0]
    for hit in explained.hits:
        assert hit.contributions is not None
        assert sum(hit.contributions.values()) == pytest.approx(hit.score, abs=1e-6)
    unexplained = ENGINE.search([replace(QUERY, offset=2, limit=3)])[0]
    assert unexplained.hits == tuple(replace(hit, contributions=None) for hit in explained.hits)


def test_a_page_behind_the_window_is_empty_and_explains_nothing() -> None:
    ranked_query = ranked(replace(QUERY, offset=500, explain=True))
    assert ranked_query.contributions == {}
    assert ranked_query.page(replace(QUERY, offset=500)).hits == ()


def test_without_the_ranker_the_page_is_in_fused_order_of_the_window() -> None:
    _, candidates = fused()
    ranked_query = in_fused_order(candidates, 5, degraded=("ranker: failed",))
    scores = fused_scores(candidates)
    page = ranked_query.page(QUERY)
    assert rows_of(page) == best_order(scores)[:5]
    assert [hit.score for hit in page.hits] == [hit.fused for hit in page.hits] == [scores[r] for r in rows_of(page)]
    assert sorted(rows_of(page)) == sorted(rows_of(ranked(rank_depth=5).page(QUERY)))
    assert page.degraded == ("ranker: failed",)


def test_a_query_without_candidates_changes_no_other() -> None:
    unmatched = ask(seed_product_ids=(SHOP.products[SHOP.row(text=False, image=False)].product_id,), explain=True)
    batch = ENGINE.search([unmatched, QUERY, unmatched])
    assert batch == [ENGINE.search([query])[0] for query in (unmatched, QUERY, unmatched)]
    assert (batch[0].hits, batch[0].reachable) == ((), 0)
    assert ENGINE.search([]) == []


def test_the_digest_is_of_the_matrix_that_was_scored() -> None:
    encoded, candidates = fused()
    window = best_fused(candidates, 5)
    matrix = ENGINE.rank.features.compute(ENGINE.rank.assembler.assemble([encoded], [window]))
    expected = matrix_digest(matrix.fingerprint, window.rows_C, matrix.values_nF)
    assert ranked(rank_depth=5).digest == expected != ranked().digest


def test_the_digest_depends_on_neither_batch_nor_page_nor_process() -> None:
    unmatched = ask(seed_product_ids=(SHOP.products[SHOP.row(text=False, image=False)].product_id,))
    queries = [QUERY, unmatched, ask("blue"), replace(QUERY, offset=3, limit=2, explain=True)]
    batch = ENGINE.rank_queries(queries)
    assert [of_query.digest for of_query in batch] == [ENGINE.rank_queries([query])[0].digest for query in queries]
    assert batch[0].digest == batch[3].digest == pickle.loads(pickle.dumps(batch[0])).digest
    assert len({of_query.digest for of_query in batch}) == 3
    assert {len(of_query.digest) for of_query in batch} == {8}


def test_the_fallback_order_has_no_digest() -> None:
    assert in_fused_order(fused()[1], 5).digest == b""


def test_candidates_of_another_release_are_refused() -> None:
    message = "candidates are of release r-corner, this stage holds r-other. Fix: repeat the request"
    with pytest.raises(ReleaseMismatch, match=message):
        ranked(release_id=ReleaseId("r-other"))


def test_a_ranker_of_other_features_is_refused_when_the_stage_is_made() -> None:
    features = ENGINE.rank.features
    other = FeatureSet(features=features.features[1:], frame_version=features.frame_version)
    message = (
        f"the ranker was trained on features {features.fingerprint[:12]}, this code computes "
        f"{other.fingerprint[:12]}. Fix: run build_training_rows and train_ranker again"
    )
    with pytest.raises(ReleaseMismatch, match=message):
        replace(ENGINE.rank, features=other)


def test_ranking_before_fusing_fails_an_assertion() -> None:
    encoded = ENGINE.encoders.encode(QUERY)
    with pytest.raises(AssertionError, match="rank after fuse"):
        ENGINE.rank.rank([encoded.query], ENGINE.retrieve.retrieve([encoded]))


def test_a_hit_names_its_retrievers_and_the_image_that_matched() -> None:
    page = ENGINE.search([QUERY])[0]
    _, candidates = fused()
    for hit in page.hits:
        c = candidates.rows_C.tolist().index(hit.row)
        ranks = dict(zip(candidates.retrievers, candidates.ranks_CR[c].tolist(), strict=True))
        assert hit.retrievers == {name: rank for name, rank in ranks.items() if rank}
        assert hit.retrievers
        view = int(candidates.views_C[c])
        assert hit.image_number == (None if view < 0 else view)
    assert {hit.image_number for hit in page.hits} >= {None, 0}


def test_paging_counts_positions_over_all_pages() -> None:
    page = SHOP.engine(EngineConfig(text_floor=-1.0)).search([ask("red", offset=7, limit=3)])[0]
    assert [hit.position for hit in page.hits] == [8, 9, 10]
    assert page.request_id == "q"
    assert page.release_id == "r-corner"
    assert {ProductId(f"p{hit.row:03d}") for hit in page.hits} == {SHOP.products[h.row].product_id for h in page.hits}
