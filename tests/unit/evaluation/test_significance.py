from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from intarsia.evaluation.significance import holm, permutation_p_values
from intarsia.maths.arrays import Floats

NAN = float("nan")


def p_of(a_Q: Floats, b_Q: Floats, *, seed: int = 1, num_permutations: int = 10_000) -> float:
    return float(permutation_p_values((a_Q - b_Q)[:, None], seed=seed, num_permutations=num_permutations)[0])


def test_three_gains_of_one_sign_have_p_one_quarter() -> None:
    a_Q = np.array([0.2, 0.3, 0.5])  # of 8 sign choices only all plus and all minus are as extreme
    assert p_of(a_Q, np.zeros(3), seed=1) == 2 / 8


def test_few_queries_are_enumerated_as_by_hand() -> None:
    differences_Q = np.array([0.5, -0.1, 0.3, 0.2, -0.4, 0.25])
    sums = [abs(sum(s * d for s, d in zip(signs, differences_Q, strict=True))) for signs in product((1, -1), repeat=6)]
    expected = sum(total >= abs(differences_Q.sum()) - 1e-12 for total in sums) / 64
    assert permutation_p_values(differences_Q[:, None], seed=1).tolist() == [expected]


def test_draws_agree_with_enumeration(rng: np.random.Generator) -> None:
    differences_Q = rng.normal(0.1, 0.2, 12)
    exact = permutation_p_values(differences_Q[:, None], seed=1, num_permutations=4096)[0]
    drawn = permutation_p_values(differences_Q[:, None], seed=1, num_permutations=4095)[0]
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 4095) + 1e-3)
    assert drawn != exact


def test_the_test_is_two_sided_and_seeded(rng: np.random.Generator) -> None:
    a_Q, b_Q = rng.random(40), rng.random(40)
    assert p_of(a_Q, b_Q, seed=3) == p_of(b_Q, a_Q, seed=3)
    assert p_of(a_Q, b_Q, seed=3) == p_of(a_Q, b_Q, seed=3)


def test_a_gain_on_every_query_has_the_smallest_possible_p() -> None:
    assert p_of(np.full(60, 0.1), np.zeros(60), seed=1, num_permutations=999) == 1 / 1000


def test_equal_systems_and_no_queries_have_p_one() -> None:
    same_Q = np.array([0.3, NAN, 0.9])
    assert p_of(same_Q, same_Q, seed=1) == 1.0
    assert p_of(np.array([NAN]), np.array([NAN]), seed=1) == 1.0


def test_p_values_of_interchangeable_systems_are_uniform(rng: np.random.Generator) -> None:
    p_values_M = permutation_p_values(rng.normal(size=(25, 400)), seed=1, num_permutations=2000)
    assert np.mean(p_values_M < 0.05) == pytest.approx(0.05, abs=0.033)  # three standard errors of 400 draws
    assert np.mean(p_values_M) == pytest.approx(0.5, abs=0.045)


def test_columns_have_the_p_values_of_separate_tests(rng: np.random.Generator) -> None:
    differences_QM = rng.normal(0.1, 1.0, size=(30, 3))
    together = permutation_p_values(differences_QM, seed=5)
    assert together.tolist() == [permutation_p_values(differences_QM[:, [m]], seed=5)[0] for m in range(3)]


def test_holm_multiplies_by_the_remaining_tests_and_is_monotone() -> None:
    # sorted .01 .02 .03 .04: x4, x3, x2, x1 = .04 .06 .06 .04 -> the last is lifted to .06
    assert holm(np.array([0.03, 0.01, 0.04, 0.02])).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.6, 0.7])).tolist() == [1.0, 1.0]
    assert holm(np.empty(0)).tolist() == []


def test_no_permutation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0 permutations; allowed: 1 or more"):
        p_of(np.ones(2), np.zeros(2), seed=1, num_permutations=0)


@pytest.mark.parametrize("p_value", [-0.1, 1.1, NAN])
def test_a_p_value_outside_0_to_1_is_refused(p_value: float) -> None:
    with pytest.raises(ValueError, match=rf"p value 1 is {p_value}; allowed: 0 to 1"):
        holm(np.array([0.5, p_value]))
