"""The first stage at its edges; `tests/property/test_engine.py` checks candidates, counts and scores."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intarsia.engine.config import EngineConfig
from intarsia.engine.retrieve import NOTHING_TO_SEARCH_BY, RetrieveStage, stored_spaces
from intarsia.errors import ArtifactError, DataError, ReleaseMismatch
from intarsia.ids import ProductId, SpaceId
from intarsia.index.bm25 import Bm25Config, Bm25Index
from intarsia.index.filters import FilterIndex
from intarsia.index.vector_files import VectorIndexConfig, build_vector_index, open_vector_index
from intarsia.index.vector_index import HnswIndex, VectorIndex
from intarsia.names import RETRIEVERS
from intarsia.records.candidates import Candidates
from intarsia.records.query import EncodedQuery, Filters, Query, QueryVector
from tests.catalogs import columns_of
from tests.unit.engine.small_release import NUM_PRODUCTS, RELEASE, ask, image, shop

SHOP = shop()
ENGINE = SHOP.engine()
ALL_MATCH = EngineConfig(depth=NUM_PRODUCTS, rank_depth=NUM_PRODUCTS, text_floor=-1.0, image_floor=-1.0)


def retrieve(query: Query, stage: RetrieveStage = ENGINE.retrieve) -> Candidates:
    return stage.retrieve([ENGINE.encoders.encode(query)])[0]


def with_floor(floor: float) -> RetrieveStage:
    return replace(ENGINE.retrieve, config=EngineConfig(image_floor=floor))


def seed(row: int) -> ProductId:
    return SHOP.products[row].product_id


def returned_by(candidates: Candidates) -> set[str]:
    """The retrievers that returned a candidate."""
    return {name for name, ranks_C in zip(candidates.retrievers, candidates.ranks_CR.T, strict=True) if ranks_C.any()}


def test_a_product_at_the_floor_matches_and_one_below_does_not() -> None:
    scores_C = np.sort(retrieve(ask(image=image("red", 1)), with_floor(-1.0)).scores_CR[:, 2])
    score = scores_C[len(scores_C) // 2]
    at, above = (float(floor) for floor in (score, np.nextafter(score, np.float32(1))))
    assert retrieve(ask(image=image("red", 1)), with_floor(at)).num_matches == np.count_nonzero(scores_C >= score)
    assert retrieve(ask(image=image("red", 1)), with_floor(above)).num_matches == np.count_nonzero(scores_C > score)


def test_a_floor_of_minus_one_lets_everything_with_a_vector_match() -> None:
    assert retrieve(ask(image=image("red")), with_floor(-1.0)).num_matches == len(set(SHOP.vectors["image"][1]))


def test_a_query_without_matches_has_no_candidates_and_empty_facets() -> None:
    candidates = retrieve(ask("red", filters=Filters(brands=("unheard",)), facets=("brand", "price")))
    assert (len(candidates.rows_C), candidates.num_matches, candidates.degraded) == (0, 0, ())
    assert candidates.facets == {"brand": (), "price": ()}
    assert candidates.scores_CR.shape == (0, len(RETRIEVERS))


def test_totals_count_beyond_the_depth() -> None:
    stage = replace(ENGINE.retrieve, config=replace(ALL_MATCH, depth=2))
    candidates = retrieve(ask("red bag", image=image("red")), stage)
    assert len(candidates.rows_C) <= 3 * 2 < candidates.num_matches


def test_bm25_is_zero_without_the_words_and_nan_without_query_text() -> None:
    stage = replace(ENGINE.retrieve, config=ALL_MATCH)
    candidates = retrieve(ask("连衣裙", image=image("red")), stage)
    assert set(candidates.scores_CR[candidates.ranks_CR[:, 0] == 0, 0].tolist()) == {0.0}
    assert np.isnan(retrieve(ask(image=image("red")), stage).scores_CR[:, :2]).all()


def test_the_view_is_the_best_readable_image() -> None:
    vectors_VD, rows_V, views_V = SHOP.vectors["image"]
    candidates = retrieve(ask("red", image=image("red")), replace(ENGINE.retrieve, config=ALL_MATCH))
    query_D = candidates.query_vectors["image"].values_D
    for row, view in zip(candidates.rows_C.tolist(), candidates.views_C.tolist(), strict=True):
        scores = {int(views_V[v]): float(vectors_VD[v] @ query_D) for v in np.flatnonzero(rows_V == row)}
        assert view == (-1 if not scores else view)
        assert not scores or scores[view] == pytest.approx(max(scores.values()), abs=1e-6)
    assert candidates.views_C[candidates.rows_C.tolist().index(2)] == 1  # image 0 of this product could not be read


def test_without_a_query_image_the_view_is_the_best_for_the_text() -> None:
    vectors_VD, rows_V, views_V = SHOP.vectors["aligned"]
    candidates = retrieve(ask("red bag"))
    query_D = candidates.query_vectors["aligned"].values_D
    for row, view in zip(candidates.rows_C.tolist(), candidates.views_C.tolist(), strict=True):
        scores = {int(views_V[v]): float(vectors_VD[v] @ query_D) for v in np.flatnonzero(rows_V == row)}
        assert view == -1 if not scores else scores[view] == pytest.approx(max(scores.values()), abs=1e-6)
    assert len(set(candidates.views_C.tolist())) > 1


def test_a_facet_of_an_unknown_name_is_refused() -> None:
    with pytest.raises(DataError, match=r"query: facets is 'colour'; allowed: category, brand, price, in_stock"):
        retrieve(ask("red", facets=("colour",)))


@pytest.mark.parametrize(
    ("text", "image", "expected"),
    [(True, True, {"text", "image", "aligned"}), (True, False, {"text"}), (False, True, {"image", "aligned"})],
)
def test_a_seed_searches_by_the_vectors_it_has(text: bool, image: bool, expected: set[str]) -> None:
    row = SHOP.row(text=text, image=image)
    candidates = retrieve(ask(seed_product_ids=(seed(row),)), replace(ENGINE.retrieve, config=ALL_MATCH))
    assert returned_by(candidates) == set(candidates.query_vectors) == expected
    assert candidates.degraded == ()
    assert row not in candidates.rows_C


def test_seeds_without_vectors_give_an_empty_degraded_page() -> None:
    rows = [SHOP.row(text=False, image=False, nth=n) for n in range(2)]
    candidates = retrieve(ask(seed_product_ids=tuple(map(seed, rows)), facets=("brand",)))
    assert (len(candidates.rows_C), candidates.num_matches, candidates.facets) == (0, 0, {"brand": ()})
    assert candidates.degraded == (NOTHING_TO_SEARCH_BY,) == ("retriever: nothing to search by",)
    page = ENGINE.search([ask(seed_product_ids=tuple(map(seed, rows)))])[0]
    assert (page.hits, page.total, page.reachable, page.degraded) == ((), 0, 0, (NOTHING_TO_SEARCH_BY,))


def test_a_user_id_alone_gives_an_empty_degraded_result() -> None:
    assert retrieve(ask(user_id="u1")).degraded == (NOTHING_TO_SEARCH_BY,)


def test_seeds_without_vectors_are_only_excluded_from_a_text_search() -> None:
    row, stage = SHOP.row(text=False, image=False), replace(ENGINE.retrieve, config=ALL_MATCH)
    words = SHOP.products[row].title
    candidates, without_seed = retrieve(ask(words, seed_product_ids=(seed(row),)), stage), retrieve(ask(words), stage)
    assert candidates.degraded == ()
    assert row in without_seed.rows_C
    assert candidates.rows_C.tolist() == [other for other in without_seed.rows_C.tolist() if other != row]


def test_seeds_replace_only_the_parts_that_the_query_does_not_have() -> None:
    row = SHOP.row(text=True, image=True)
    encoded = ENGINE.encoders.encode(ask("blue lamp", seed_product_ids=(seed(row),)))
    candidates = ENGINE.retrieve.retrieve([encoded])[0]
    assert candidates.query_vectors["text"] is encoded.vectors["text"]
    assert returned_by(candidates) == set(RETRIEVERS)


def test_several_seeds_search_by_the_unit_mean_of_all_their_views() -> None:
    rows = [SHOP.row(text=True, image=True, nth=n) for n in range(2)]
    vectors = retrieve(ask(seed_product_ids=tuple(map(seed, rows)))).query_vectors
    for name, vector in vectors.items():
        vectors_VD, rows_V, _ = SHOP.vectors[name]
        mean_D = np.mean([v for v, row in zip(vectors_VD, rows_V, strict=True) if row in rows], axis=0)
        np.testing.assert_allclose(vector.values_D, mean_D / np.linalg.norm(mean_D), atol=1e-6)
        assert vector.space_id == ENGINE.retrieve.vectors[name].space_id


def test_seeds_that_point_opposite_ways_have_no_mean(tmp_path: Path) -> None:
    vectors_VD = np.array([[1, 0], [-1, 0]], np.float32)
    build_vector_index(VectorIndexConfig(), SpaceId("s"), vectors_VD, np.arange(2), NUM_PRODUCTS, tmp_path / "image")
    stage = replace(ENGINE.retrieve, vectors={"image": open_vector_index(tmp_path / "image")})
    assert retrieve(ask(seed_product_ids=(seed(0), seed(1))), stage).degraded == (NOTHING_TO_SEARCH_BY,)


def test_a_seed_that_is_not_in_the_catalog_is_refused() -> None:
    with pytest.raises(DataError, match=r"query: product_id is 'p999'; allowed: the id of a product of this catalog"):
        retrieve(ask(seed_product_ids=(ProductId("p999"),)))


def test_among_limits_the_rows_that_can_be_candidates() -> None:
    encoded = [ENGINE.encoders.encode(ask("red bag", filters=Filters(exclude=(seed(2),)))) for _ in range(3)]
    stage = replace(ENGINE.retrieve, config=ALL_MATCH)
    some, none, free = stage.retrieve(encoded, among=[np.array([0, 2, 5]), np.empty(0, np.int64), None])
    assert some.rows_C.tolist() == [0, 5]
    assert (some.num_matches, none.num_matches) == (2, 0)
    assert free.num_matches == retrieve(encoded[0].query, stage).num_matches > 2


def test_a_vector_of_another_space_is_refused() -> None:
    vector = QueryVector(space_id=SpaceId("other"), values_D=np.ones(3, np.float32))
    message = "the query's image vector is of space other, the index holds corner-image. Fix: repeat the request"
    with pytest.raises(ReleaseMismatch, match=message):
        ENGINE.retrieve.retrieve([EncodedQuery(query=ask("red"), vectors={"image": vector})])


def broken_index(folder: Path) -> VectorIndex:
    """An HNSW index whose graph has lost its vectors: FAISS raises when it searches."""
    rng = np.random.default_rng(0)
    vectors_VD = rng.standard_normal((6 * NUM_PRODUCTS, 8)).astype(np.float32)
    vectors_VD /= np.linalg.norm(vectors_VD, axis=1, keepdims=True)
    rows_V = np.repeat(np.arange(NUM_PRODUCTS), 6)
    build_vector_index(
        VectorIndexConfig(exact_up_to=0), SpaceId("corner-text"), vectors_VD, rows_V, NUM_PRODUCTS, folder
    )
    index = open_vector_index(folder)
    assert isinstance(index, HnswIndex)
    index._graph.storage = None
    return index


def test_a_broken_retriever_is_named_and_the_others_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stage = replace(ENGINE.retrieve, config=EngineConfig(depth=4, text_floor=0.0, image_floor=0.5, aligned_floor=0.5))
    broken = replace(stage, vectors={**stage.vectors, "text": broken_index(tmp_path)})
    query = ask("green mug", image=image("green"))
    encoded = ENGINE.encoders.encode(query)
    without = replace(encoded, vectors={name: encoded.vectors[name] for name in ("image", "aligned")})
    caplog.set_level(logging.WARNING)
    candidates, expected = broken.retrieve([encoded])[0], stage.retrieve([without])[0]
    assert candidates.degraded == ("text: failed",)
    assert candidates.rows_C.tolist() == expected.rows_C.tolist()
    np.testing.assert_array_equal(candidates.scores_CR, expected.scores_CR)
    assert candidates.ranks_CR.tolist() == expected.ranks_CR.tolist()
    assert candidates.num_matches == expected.num_matches > 0
    (line,) = [record.getMessage() for record in caplog.records if "retriever_failed" in record.getMessage()]
    assert "retriever=text" in line and "error=RuntimeError" in line and "green" not in line
    page = replace(ENGINE, retrieve=broken).search([query])[0]
    assert page.degraded == ("text: failed",)
    assert page.hits


def test_when_every_retriever_fails_it_is_an_error_that_names_them(tmp_path: Path) -> None:
    broken = replace(
        ENGINE.retrieve,
        config=EngineConfig(depth=4),
        bm25=replace(ENGINE.retrieve.bm25, num_rows=2**55),  # a wrong header: the scores fit into no memory
        vectors={**ENGINE.retrieve.vectors, "text": broken_index(tmp_path)},
    )
    words = ENGINE.encoders.encode(ask("red bag"))
    without = replace(words, vectors={"text": words.vectors["text"]})
    with pytest.raises(RuntimeError, match="every retriever failed: bm25: failed, text: failed"):
        broken.retrieve([without])
    assert broken.retrieve([words])[0].degraded == ("bm25: failed", "text: failed")


def test_a_query_with_a_vector_that_no_index_holds_is_refused() -> None:
    without_aligned = {name: index for name, index in ENGINE.retrieve.vectors.items() if name != "aligned"}
    with pytest.raises(
        ReleaseMismatch, match=r"aligned vector is of space aligned-.*, the index holds None. Fix: repeat the request"
    ):
        retrieve(ask("red bag"), replace(ENGINE.retrieve, vectors=without_aligned))


def test_an_empty_catalog_has_no_candidates(tmp_path: Path) -> None:
    columns = columns_of([])
    for name, dim in (("text", 8), ("image", 3)):
        none = np.empty((0, dim), np.float32), np.empty(0, np.int64)
        build_vector_index(VectorIndexConfig(), SpaceId(f"corner-{name}"), *none, 0, tmp_path / name)
    stage = RetrieveStage(
        release_id=RELEASE,
        config=EngineConfig(),
        columns=columns,
        filters=FilterIndex(columns),
        bm25=Bm25Index.build(Bm25Config(), {"title": []}),
        vectors={name: open_vector_index(tmp_path / name) for name in ("text", "image")},
    )
    encoded = ENGINE.encoders.encode(ask("red", image=image("red"), facets=("brand", "price")))
    candidates = stage.retrieve([replace(encoded, vectors={name: encoded.vectors[name] for name in stage.vectors})])[0]
    assert (len(candidates.rows_C), candidates.num_matches, candidates.facets) == (0, 0, {"brand": (), "price": ()})


def test_the_spaces_of_an_index_are_read_from_its_manifest() -> None:
    assert stored_spaces(SHOP.release / "indexes") == ENGINE.encoders.spaces


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "manifest.json does not exist. Fix: run build_indexes"),
        ("{", r"manifest.json does not name the vector spaces \(JSONDecodeError.*\). Fix: run build_indexes again"),
        ("{}", r"manifest.json does not name the vector spaces \(KeyError\('space_ids'\)\)"),
        ('{"space_ids": {"text": "s"}}', r"manifest.json does not name the vector spaces \(KeyError\('image'\)\)"),
        ('{"space_ids": null}', r"manifest.json does not name the vector spaces \(TypeError"),
    ],
)
def test_a_missing_or_damaged_manifest_names_the_job_to_run(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match=message):
        stored_spaces(tmp_path)
