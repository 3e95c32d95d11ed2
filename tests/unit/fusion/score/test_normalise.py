from __future__ import annotations

import math

import numpy as np
import pytest

from intarsia.fusion.score.normalise import NORMALISERS
from intarsia.fusion.spec import NormaliserName
from intarsia.maths.arrays import Floats
from intarsia.maths.grouped import Groups

NAN = float("nan")
LOWEST_R = np.array([0.0])


def normalised(name: NormaliserName, scores: list[float]) -> list[float]:
    groups = Groups(np.array([0, len(scores)], np.int64))
    result: Floats = NORMALISERS[name](np.array([scores]), groups, LOWEST_R)
    return result[0].tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("min_max", [0.0, 0.25, 1.0]),
        ("theoretical_min_max", [0.2, 0.4, 1.0]),
        ("z", [0.5 + (x - 8 / 3) / math.sqrt(26 / 9) / 6 for x in (1, 2, 5)]),
        ("atan", [0.5 + math.atan(x) / math.pi for x in (1, 2, 5)]),
        ("quantile", [1 / 3, 2 / 3, 1.0]),
    ],
)
def test_each_normaliser_by_hand(name: NormaliserName, expected: list[float]) -> None:
    assert normalised(name, [1.0, 2.0, 5.0]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_max", 1.0),
        ("theoretical_min_max", 1.0),
        ("z", 0.5),
        ("atan", 0.5 + math.atan(0.1) / math.pi),
        ("quantile", 1.0),
    ],
)
@pytest.mark.parametrize("num", [1, 3])
def test_a_single_score_and_equal_scores_are_above_zero(name: NormaliserName, value: float, num: int) -> None:
    assert normalised(name, [0.1] * num) == pytest.approx([value] * num)


@pytest.mark.parametrize("name", sorted(NORMALISERS))
def test_missing_scores_stay_missing_and_do_not_affect_the_others(name: NormaliserName) -> None:
    assert normalised(name, [1.0, NAN, 5.0, 2.0]) == pytest.approx(
        [*normalised(name, [1.0, 5.0, 2.0])[:1], NAN, *normalised(name, [1.0, 5.0, 2.0])[1:]], nan_ok=True
    )
    assert all(map(math.isnan, normalised(name, [NAN, NAN])))


def test_scores_at_the_lowest_possible_value_are_zero() -> None:
    assert normalised("theoretical_min_max", [0.0, 0.0]) == [0.0, 0.0]


def test_equal_scores_have_equal_quantiles() -> None:
    assert normalised("quantile", [3.0, 1.0, 3.0, 2.0]) == [1.0, 0.25, 1.0, 0.5]


def test_without_a_lower_bound_the_lowest_score_of_the_query_is_used() -> None:
    groups = Groups(np.array([0, 3, 5], np.int64))
    scores_1n = np.array([[-40.0, -10.0, 20.0, 7.0, 9.0]])
    normal = NORMALISERS["theoretical_min_max"](scores_1n, groups, np.array([NAN]))
    assert normal.tolist() == [[0.0, 0.5, 1.0, 0.0, 1.0]]
