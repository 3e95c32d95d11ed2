"""Unit vectors have length 1, keep dtype and direction, and depend on their own values alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import DTypeLike

from intarsia.maths.unit_vectors import direction_of, unit_vectors


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5,), (7, 5), (2, 3, 5)])
def test_length_is_one_and_direction_stays(dtype: DTypeLike, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    vectors = rng.normal(size=shape).astype(dtype)
    unit = unit_vectors(vectors)
    assert unit.dtype == dtype and unit.shape == shape
    assert (unit**2).sum(axis=-1) == pytest.approx(np.ones(shape[:-1]), abs=1e-6)
    assert np.abs(unit * np.sqrt((vectors**2).sum(axis=-1))[..., np.newaxis] - vectors).max() < 1e-6


def test_a_zero_vector_stays_zeros() -> None:
    assert unit_vectors(np.array([[0.0, 0.0], [0.0, 2.0]])).tolist() == [[0.0, 0.0], [0.0, 1.0]]
    assert unit_vectors(np.empty((0, 3))).shape == (0, 3)


def test_a_vector_has_the_same_bits_in_any_batch(rng: np.random.Generator) -> None:
    vectors_VD = rng.normal(size=(50, 33)).astype(np.float32)
    alone = [unit_vectors(vectors_VD[v : v + 1])[0].tobytes() for v in range(50)]
    assert [row.tobytes() for row in unit_vectors(vectors_VD)] == alone


def test_direction_is_float32_or_none() -> None:
    unit_D = direction_of(np.array([0.0, 5.0]))
    assert unit_D is not None and unit_D.dtype == np.float32 and unit_D.tolist() == [0.0, 1.0]
    assert direction_of(np.zeros(3)) is None
