from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from intarsia.errors import ArtifactError, DataError
from intarsia.ids import SpaceId
from intarsia.index.vector_files import VECTOR_INDEX_KINDS, VectorIndexConfig, build_vector_index, open_vector_index
from intarsia.index.vector_index import VectorIndex

SPACE = SpaceId("test-space")
EXACT, GRAPH = VectorIndexConfig(), VectorIndexConfig(exact_up_to=0)


def unit(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def build(
    folder: Path, vectors_VD: NDArray[np.float32], rows: list[int], num_rows: int, config: VectorIndexConfig = EXACT
) -> VectorIndex:
    build_vector_index(config, SPACE, vectors_VD, np.array(rows, np.int64), num_rows, folder)
    return open_vector_index(folder)


@pytest.fixture(params=[EXACT, GRAPH], ids=["flat", "hnsw"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> VectorIndex:
    """Row 0 has two views, row 1 none; rows 2 and 3 have equal vectors."""
    return build(tmp_path / "index", unit((1, 0), (0, 1), (1, 1), (1, 1)), [0, 0, 2, 3], 4, request.param)


def test_every_kind_is_built_by_some_config(tmp_path: Path) -> None:
    kinds = set()
    for config in (EXACT, GRAPH):
        build(tmp_path / str(config.exact_up_to), unit((1, 0)), [0], 1, config)
        kinds.add(json.loads((tmp_path / str(config.exact_up_to) / "index.json").read_text())["kind"])
    assert kinds == set(VECTOR_INDEX_KINDS)


def test_a_product_has_the_score_of_its_best_view_and_ties_go_by_row(small: VectorIndex) -> None:
    hits = small.search(unit((0.1, 1)), 4, None)
    assert hits.rows_Qk.tolist() == [[0, 2, 3, -1]]
    assert hits.views_Qk.tolist() == [[1, 0, 0, -1]]
    assert np.isnan(hits.scores_Qk[0, 3])
    assert hits.scores_Qk[0, 1] == hits.scores_Qk[0, 2]


def test_equal_views_return_the_first(tmp_path: Path) -> None:
    index = build(tmp_path, unit((0, 1), (1, 0), (1, 0)), [0, 0, 0], 1)
    assert index.search(unit((1, 0)), 1, None).views_Qk.tolist() == [[1]]


def test_view_numbers_may_have_gaps(tmp_path: Path) -> None:
    build_vector_index(EXACT, SPACE, unit((1, 0), (0, 1)), np.array([0, 0]), 1, tmp_path, np.array([1, 4], np.int32))
    index = open_vector_index(tmp_path)
    assert index.search(unit((0, 1), (1, 0)), 1, None).views_Qk.tolist() == [[4], [1]]


def test_a_repeated_view_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="vectors row 1: view is 3; allowed: above 3, the view before it of product row 0"
    ):
        build_vector_index(
            EXACT, SPACE, unit((1, 0), (0, 1)), np.array([0, 0]), 1, tmp_path, np.array([3, 3], np.int32)
        )


def test_a_filter_is_exact(small: VectorIndex) -> None:
    allowed_N = np.array([False, True, False, True])
    assert small.search(unit((1, 0)), 2, allowed_N).rows_Qk.tolist() == [[3, -1]]
    assert small.search(unit((1, 0)), 2, np.zeros(4, np.bool_)).rows_Qk.tolist() == [[-1, -1]]


def test_rows_are_scored_in_any_order_and_are_nan_without_vectors(small: VectorIndex) -> None:
    scores, views = small.score_rows(unit((1, 0))[0], np.array([2, 1, 0, 2], np.int64))
    assert views.tolist() == [0, -1, 0, 0]
    assert scores[2] == 1.0
    assert scores[0] == scores[3] == np.float32(np.sqrt(0.5))
    assert np.isnan(scores[1])


def test_no_rows_give_no_scores(small: VectorIndex) -> None:
    scores, views = small.score_rows(unit((1, 0))[0], np.empty(0, np.int64))
    assert len(scores) == len(views) == 0


def test_the_floor_is_included(small: VectorIndex) -> None:
    query_D = unit((1, 0))[0]
    at_row_2 = float(small.score_rows(query_D, np.array([2]))[0][0])
    assert small.matches(query_D, at_row_2).tolist() == [True, False, True, True]
    assert small.matches(query_D, 0.9).tolist() == [True, False, False, False]


def test_stored_vectors_are_returned_in_view_order(small: VectorIndex) -> None:
    assert small.vectors_of(0).tolist() == [[1, 0], [0, 1]]
    assert small.vectors_of(1).shape == (0, 2)
    assert small.space_id == SPACE


@pytest.mark.parametrize("config", [EXACT, GRAPH], ids=["flat", "hnsw"])
def test_a_catalog_without_images_is_allowed(tmp_path: Path, config: VectorIndexConfig) -> None:
    index = build(tmp_path, np.empty((0, 2), np.float32), [], 3, config)
    query_QD = unit((1, 0))
    assert index.search(query_QD, 2, None).rows_Qk.tolist() == [[-1, -1]]
    assert np.isnan(index.score_rows(query_QD[0], np.array([0, 2]))[0]).all()
    assert not index.matches(query_QD[0], -1.0).any()
    assert index.vectors_of(1).shape == (0, 2)


def test_no_queries_give_no_lists(small: VectorIndex) -> None:
    assert small.search(np.empty((0, 2), np.float32), 3, None).rows_Qk.shape == (0, 3)


def test_the_same_vectors_give_the_same_files(tmp_path: Path, rng: np.random.Generator) -> None:
    vectors_VD = unit(*map(tuple, rng.standard_normal((300, 8))))
    for name in ("a", "b"):
        build(tmp_path / name, vectors_VD, list(range(300)), 300, GRAPH)
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


@pytest.mark.parametrize("rows", [[1, 0], [0, 2], [-1, 0]])
def test_rows_out_of_order_or_range_are_refused(tmp_path: Path, rows: list[int]) -> None:
    with pytest.raises(DataError, match=r"rows is .* ascending row numbers 0\.\.1"):
        build(tmp_path, unit((1, 0), (0, 1)), rows, 2)


@pytest.mark.parametrize("vector", [(2.0, 0.0), (np.nan, 0.0), (0.0, 0.0)])
def test_a_vector_of_another_length_than_1_is_refused(tmp_path: Path, vector: tuple[float, float]) -> None:
    with pytest.raises(DataError, match=r"vectors row 1: length is .* unit vectors"):
        build(tmp_path, np.array([(1.0, 0.0), vector], np.float32), [0, 1], 2)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("exact_up_to", -1, "exact_up_to is -1; allowed: 0 or more"),
        ("hnsw_ef_search", 0, "hnsw_ef_search is 0; allowed: 1 or more"),
        ("hnsw_links", 1, "hnsw_links is 1; allowed: 2 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(setting: str, value: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VectorIndexConfig(**{setting: value})


class TestTornFolders:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        build(tmp_path / "index", unit((1, 0), (0, 1)), [0, 1], 2)
        return tmp_path / "index"

    def change(self, folder: Path, **facts: object) -> None:
        header = json.loads((folder / "index.json").read_text())
        (folder / "index.json").write_text(json.dumps(header | facts))

    def test_no_header(self, folder: Path) -> None:
        (folder / "index.json").unlink()
        with pytest.raises(ArtifactError, match=r"contains no index\.json"):
            open_vector_index(folder)

    def test_half_a_header(self, folder: Path) -> None:
        (folder / "index.json").write_text('{"format": ')
        with pytest.raises(ArtifactError, match=r"index\.json is torn"):
            open_vector_index(folder)

    def test_another_version(self, folder: Path) -> None:
        self.change(folder, format="vector_index/2")
        with pytest.raises(ArtifactError, match=r"format 'vector_index/2'; this version reads 'vector_index/1'"):
            open_vector_index(folder)

    def test_a_header_that_is_not_a_mapping(self, folder: Path) -> None:
        (folder / "index.json").write_text("[]")
        with pytest.raises(ArtifactError, match="format None"):
            open_vector_index(folder)

    def test_a_missing_file(self, folder: Path) -> None:
        (folder / "rows.npy").unlink()
        with pytest.raises(ArtifactError, match=r"rows\.npy is missing"):
            open_vector_index(folder)

    def test_a_file_cut_short(self, folder: Path) -> None:
        content = (folder / "vectors.npy").read_bytes()
        (folder / "vectors.npy").write_bytes(content[:-1])
        with pytest.raises(ArtifactError, match=rf"has {len(content) - 1} bytes; index\.json says {len(content)}"):
            open_vector_index(folder)

    def test_files_of_two_builds(self, folder: Path) -> None:
        self.change(folder, num_views=3)
        with pytest.raises(ArtifactError, match=r"has shape \(2, 2\); index\.json says \(3, 2\)"):
            open_vector_index(folder)

    def test_an_unknown_kind(self, folder: Path) -> None:
        self.change(folder, kind="quantum")
        with pytest.raises(ArtifactError, match="kind 'quantum'; this version reads flat, hnsw"):
            open_vector_index(folder)
