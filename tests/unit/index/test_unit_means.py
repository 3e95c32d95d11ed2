"""The unit mean of each product's vectors, of every kind of index; without a copy if each product has exactly one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from intarsia.ids import SpaceId
from intarsia.index.vector_files import VectorIndexConfig, build_vector_index, open_vector_index
from intarsia.index.vector_index import StoredVectors


def stored(vectors_VD: NDArray[np.float32], rows: list[int], num_rows: int) -> StoredVectors:
    return StoredVectors(
        space_id=SpaceId("test"),
        vectors_VD=vectors_VD,
        rows_V=np.array(rows, np.int64),
        views_V=np.arange(len(rows), dtype=np.int32),
        num_rows=num_rows,
    )


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("exact_up_to", [100, 0], ids=["flat", "hnsw"])
def test_the_mean_of_a_product_is_that_of_its_own_views(
    rng: np.random.Generator, tmp_path: Path, exact_up_to: int
) -> None:
    counts = [0, 2, 1, 0, 3, 1, 0]  # first and last rows have none
    rows_V = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    vectors_VD = unit(rng.normal(size=(len(rows_V), 5)))
    config = VectorIndexConfig(exact_up_to=exact_up_to)
    build_vector_index(config, SpaceId("test"), vectors_VD, rows_V, len(counts), tmp_path)
    means_ND, has_N = open_vector_index(tmp_path).unit_means()
    assert has_N.tolist() == [count > 0 for count in counts]
    start = 0
    for row, count in enumerate(counts):
        views_VD = vectors_VD[start : start + count].astype(np.float64)
        start += count
        expected_D = unit(views_VD.sum(axis=0)) if count else np.zeros(5)
        assert means_ND[row].tolist() == pytest.approx(expected_D.tolist(), abs=1e-6)


def test_one_vector_per_row_is_returned_without_a_copy(rng: np.random.Generator) -> None:
    vectors_VD = unit(rng.normal(size=(4, 3)))
    means_ND, has_N = stored(vectors_VD, [0, 1, 2, 3], 4).unit_means()
    assert means_ND is vectors_VD
    assert has_N.all()


def test_as_many_vectors_as_rows_need_not_be_one_per_row(rng: np.random.Generator) -> None:
    vectors_VD = unit(rng.normal(size=(3, 3)))
    means_ND, has_N = stored(vectors_VD, [0, 0, 2], 3).unit_means()
    assert has_N.tolist() == [True, False, True]
    assert not means_ND[1].any()
    assert means_ND[2].tolist() == pytest.approx(vectors_VD[2].tolist(), abs=1e-7)
    assert means_ND[0].tolist() == pytest.approx(unit(vectors_VD[0] + vectors_VD[1]).tolist(), abs=1e-6)


def test_views_that_cancel_out_leave_zeros_and_no_nan() -> None:
    means_ND, has_N = stored(np.array([[1, 0], [-1, 0]], np.float32), [0, 0], 1).unit_means()
    assert means_ND.tolist() == [[0.0, 0.0]]
    assert has_N.tolist() == [True]


def test_a_catalog_without_vectors_has_zeros_of_the_right_width() -> None:
    means_ND, has_N = stored(np.empty((0, 3), np.float32), [], 2).unit_means()
    assert means_ND.tolist() == [[0.0] * 3] * 2
    assert not has_N.any()
