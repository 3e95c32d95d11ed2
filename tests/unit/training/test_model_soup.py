from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from intarsia.errors import ArtifactError
from intarsia.training.model_soup import (
    Ingredient,
    NamedArrays,
    arrays_digest,
    average_parameters,
    greedy_soup,
    searched_soup,
)

BASE = {"w": np.zeros((2, 2), np.float32)}


def model(
    name: str, w: list[list[float]], *, base: Mapping[str, NDArray[np.generic]] = BASE, **more: object
) -> Ingredient:
    arrays = {"w": np.array(w, np.float32), **{key: np.asarray(value) for key, value in more.items()}}
    return Ingredient(name=name, arrays=arrays, base_digest=arrays_digest(base))


ONE = model("one", [[1.0, 0.0], [0.0, 0.0]], steps=np.array(7))
TWO = model("two", [[0.0, 1.0], [0.0, 0.0]], steps=np.array(9))
FAR = model("far", [[-4.0, -4.0], [0.0, 8.0]], steps=np.array(1))


def nearness(arrays: NamedArrays) -> float:
    """Minus the squared distance to [[0.75, 0.25], [0, 0]], which is 0.75 ONE + 0.25 TWO."""
    return -float(((arrays["w"].astype(np.float64) - [[0.75, 0.25], [0.0, 0.0]]) ** 2).sum())


def test_a_mix_is_the_weighted_mean_of_every_parameter() -> None:
    mixed = average_parameters([ONE, TWO, FAR], [0.5, 0.25, 0.25])
    assert mixed["w"].tolist() == [[0.5 - 1.0, 0.25 - 1.0], [0.0, 2.0]]
    assert mixed["w"].dtype == np.float32


def test_integer_arrays_are_those_of_the_first_ingredient() -> None:
    assert average_parameters([ONE, TWO], [0.5, 0.5])["steps"] == 7


def test_one_ingredient_alone_is_itself_bit_for_bit(rng: np.random.Generator) -> None:
    first = Ingredient(name="first", arrays={"w": rng.normal(size=(5, 3)).astype(np.float32)}, base_digest="a")
    mixed = average_parameters(
        [first, Ingredient(name="other", arrays={"w": np.full((5, 3), np.nan, np.float32)}, base_digest="a")],
        [1.0, 0.0],
    )
    assert mixed["w"].tobytes() == first.arrays["w"].tobytes()


def test_a_greedy_soup_keeps_what_does_not_hurt() -> None:
    # single: ONE -0.125, TWO -1.125, FAR worst; ONE and TWO in equal parts: -0.125, not worse; with FAR: worse
    soup = greedy_soup([FAR, TWO, ONE], nearness)
    assert soup.alphas == {"far": 0.0, "two": 0.5, "one": 0.5}
    assert soup.score == nearness(soup.arrays) == -0.125


def test_a_searched_soup_finds_the_shares_themselves() -> None:
    soup = searched_soup([ONE, TWO, FAR], nearness, num_steps=4)
    assert soup.alphas == {"one": 0.75, "two": 0.25, "far": 0.0}
    assert soup.score == 0.0


def test_moves_reach_shares_between_the_points_of_the_grid() -> None:
    soup = searched_soup([ONE, TWO], nearness, num_steps=2, sizes=(0.1, 0.05))
    assert soup.alphas == pytest.approx({"one": 0.75, "two": 0.25})


def test_a_searched_soup_is_never_below_its_best_ingredient() -> None:
    def only_two(arrays: NamedArrays) -> float:
        return float(arrays["w"].tolist() == TWO.arrays["w"].tolist())

    assert searched_soup([ONE, TWO, FAR], only_two).alphas == {"one": 0.0, "two": 1.0, "far": 0.0}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            Ingredient(name="deep", arrays={**ONE.arrays, "v": np.zeros(2)}, base_digest=ONE.base_digest),
            r"deep has v, but one does not: different arch",
        ),
        (
            Ingredient(name="bare", arrays={"w": ONE.arrays["w"]}, base_digest=ONE.base_digest),
            r"one has steps, but bare does not: different arch",
        ),
        (
            model("wide", [[1.0, 0.0, 0.0]], steps=np.array(1)),
            r"w is float32 \[2, 2\] in one and float32 \[1, 3\] in wide: different arch",
        ),
        (
            Ingredient(
                name="half", arrays={**ONE.arrays, "w": ONE.arrays["w"].astype(np.float16)}, base_digest=ONE.base_digest
            ),
            r"w is float32 \[2, 2\] in one and float16 \[2, 2\] in half",
        ),
        (
            model(
                "born_elsewhere", [[1.0, 0.0], [0.0, 0.0]], base={"w": np.ones((2, 2), np.float32)}, steps=np.array(1)
            ),
            r"one was fine-tuned from [0-9a-f]{12}, born_elsewhere from [0-9a-f]{12}: different starting points",
        ),
    ],
)
def test_another_architecture_or_starting_point_is_refused_by_name(other: Ingredient, words: str) -> None:
    for attempt in (lambda: average_parameters([ONE, other], [0.5, 0.5]), lambda: greedy_soup([ONE, other], nearness)):
        with pytest.raises(ArtifactError, match=words):
            attempt()


@pytest.mark.parametrize(
    ("alphas", "words"),
    [
        ([0.5, 0.4], r"the shares 0.5, 0.4 sum to 0.9; allowed: 1"),
        ([1.0], r"1 shares for 2 ingredients; allowed: one per ingredient"),
    ],
)
def test_shares_that_are_not_a_mean_are_refused(alphas: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        average_parameters([ONE, TWO], alphas)


def test_a_soup_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a soup of 0 ingredients"):
        searched_soup([], nearness)


def test_a_digest_depends_on_names_shapes_and_bits_not_on_order() -> None:
    arrays = {"a": np.arange(4.0), "b": np.arange(2)}
    assert arrays_digest(arrays) == arrays_digest({"b": arrays["b"], "a": arrays["a"]})
    others = [
        {"a": arrays["a"].reshape(2, 2), "b": arrays["b"]},
        {"c": arrays["a"], "b": arrays["b"]},
        {"a": -arrays["a"], "b": arrays["b"]},
    ]
    assert arrays_digest(arrays) not in [arrays_digest(one) for one in others]
