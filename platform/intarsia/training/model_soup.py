"""Model soups: one model whose parameters are the weighted mean of several, theta = sum_i alpha_i theta_i with sum_i
alpha_i = 1.

A mean of parameters is meaningful only for models of one architecture that were fine-tuned from one starting point.
Anything else is refused. Models are named NumPy arrays here (a state dict); the caller supplies the network that
measures them.

`text_tower_soup` applies it to the text towers of the folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.errors import ArtifactError
from intarsia.fusion.score.column_weights import ColumnWeights, weight_moves
from intarsia.maths.simplex import simplex_grid
from intarsia.training.text_folder import get_arrays, set_arrays
from intarsia.training.text_training_data import WATCHED_METRIC, HeldOutNdcg

NamedArrays = Mapping[str, NDArray[np.generic]]
SoupMetric = Callable[[NamedArrays], float]
"""Validation metric of parameters, higher is better."""

_SUMS_TO_ONE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredient:
    """One fine-tuned model.

    Attributes:
        name: for messages and reports.
        arrays: parameters and buffers by name.
        base_digest: `arrays_digest` of the parameters before fine-tuning.
    """

    name: str
    arrays: NamedArrays
    base_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Soup:
    """The averaged parameters, the share of each ingredient by name (0: not used), and the metric of the average."""

    arrays: NamedArrays
    alphas: Mapping[str, float]
    score: float


def arrays_digest(arrays: NamedArrays) -> str:
    """Hex sha256 of names, dtypes, shapes and bits; the order of the names does not matter."""
    digest = sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def average_parameters(ingredients: Sequence[Ingredient], alphas: Sequence[float]) -> dict[str, NDArray[np.generic]]:
    """The weighted mean of all parameters, summed in float64 and rounded once to the dtype of each array.

    Arrays that are not floating point (counters, position ids) are copied from the first ingredient.

    Args:
        ingredients: of one architecture and one starting point.
        alphas: share of each ingredient; they sum to 1, and may be negative (task arithmetic).

    Raises:
        ValueError: no ingredient, a wrong number of shares, or shares that do not sum to 1.
        ArtifactError: another architecture (names, shapes or dtypes of the arrays) or another starting point.

    >>> towers = [Ingredient(name=f"fold {i}", arrays={"w": np.array([i, 4.0])}, base_digest="start") for i in (0, 1)]
    >>> average_parameters(towers, [0.5, 0.5])["w"].tolist()
    [0.5, 4.0]
    """
    check_soup(ingredients)
    if len(alphas) != len(ingredients):
        raise ValueError(f"{len(alphas)} shares for {len(ingredients)} ingredients; allowed: one per ingredient")
    if abs(sum(alphas) - 1.0) > _SUMS_TO_ONE:
        raise ValueError(f"the shares {', '.join(f'{alpha:g}' for alpha in alphas)} sum to {sum(alphas):g}; allowed: 1")
    mixed: dict[str, NDArray[np.generic]] = {}
    for name, first in ingredients[0].arrays.items():
        if not np.issubdtype(first.dtype, np.floating):
            mixed[name] = first.copy()
            continue
        total = np.zeros(first.shape)
        for ingredient, alpha in zip(ingredients, alphas, strict=True):
            if alpha:
                total += alpha * ingredient.arrays[name].astype(np.float64)
        mixed[name] = total.astype(first.dtype)
    return mixed


def greedy_soup(ingredients: Sequence[Ingredient], measure: SoupMetric) -> Soup:
    """Start with the best ingredient; add each other one, in order of its metric, if the equal-weight mean does not get
    worse.

    Source: Wortsman et al., "Model soups", ICML 2022, recipe 1. arXiv:2203.05482

    Raises:
        ValueError: no ingredient.
        ArtifactError: as `average_parameters`.
    """
    check_soup(ingredients)
    single_scores = [measure(ingredient.arrays) for ingredient in ingredients]
    by_score = sorted(range(len(ingredients)), key=lambda i: -single_scores[i])  # stable: the first of equals
    chosen, score = by_score[:1], single_scores[by_score[0]]
    for i in by_score[1:]:
        candidate_score = measure(
            average_parameters([ingredients[i] for i in (*chosen, i)], [1.0 / (len(chosen) + 1)] * (len(chosen) + 1))
        )
        if candidate_score >= score:
            chosen, score = [*chosen, i], candidate_score
    shares = [1.0 / len(chosen) if i in chosen else 0.0 for i in range(len(ingredients))]
    return _make_soup(ingredients, tuple(shares), score)


def searched_soup(
    ingredients: Sequence[Ingredient], measure: SoupMetric, *, num_steps: int = 4, sizes: Sequence[float] = (0.1, 0.05)
) -> Soup:
    """The best shares of a grid over the simplex, improved by ever smaller moves while the metric rises.

    The corners of the grid are the single ingredients, so the soup is never worse than the best of them by the metric
    used. With m ingredients the grid has C(num_steps + m - 1, m - 1) points, each measured once; for a costly metric
    prefer `greedy_soup`.

    Args:
        ingredients: as for `average_parameters`.
        measure: validation metric of parameters.
        num_steps: the first shares are multiples of 1 / num_steps.
        sizes: sizes of the moves, one after the other.

    Raises:
        ValueError: no ingredient.
        ArtifactError: as `average_parameters`.
    """
    check_soup(ingredients)
    best, score = _best(ingredients, measure, _grid(len(ingredients), num_steps))
    for size in sizes:
        while True:
            shares, candidate_score = _best(ingredients, measure, weight_moves(best, size))
            if not candidate_score > score:
                break
            best, score = shares, candidate_score
    return _make_soup(ingredients, best, score)


def check_soup(ingredients: Sequence[Ingredient]) -> None:
    """Check that the ingredients can be averaged.

    Raises:
        ValueError: no ingredient.
        ArtifactError: another architecture or starting point than the first ingredient.
    """
    if not ingredients:
        raise ValueError("a soup of 0 ingredients; allowed: 1 or more")
    first = ingredients[0]
    for ingredient in ingredients[1:]:
        for name in sorted(first.arrays.keys() ^ ingredient.arrays.keys()):
            owner, other = (first, ingredient) if name in first.arrays else (ingredient, first)
            raise ArtifactError(
                f"{owner.name} has {name}, but {other.name} does not: different architectures; average models of one "
                "architecture"
            )
        for name, array in first.arrays.items():
            if (_array_type(array)) != (_array_type(ingredient.arrays[name])):
                raise ArtifactError(
                    f"{name} is {_array_type(array)} in {first.name} and {_array_type(ingredient.arrays[name])} in "
                    f"{ingredient.name}: different architectures; average models of one architecture"
                )
        if ingredient.base_digest != first.base_digest:
            raise ArtifactError(
                f"{first.name} was fine-tuned from {first.base_digest[:12]}, {ingredient.name} from "
                f"{ingredient.base_digest[:12]}: different starting points; average models that were fine-tuned from "
                "the same weights"
            )


def _array_type(array: NDArray[np.generic]) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _grid(num: int, num_steps: int) -> Iterator[ColumnWeights]:
    for steps in simplex_grid(num, num_steps):
        yield tuple(step / num_steps for step in steps)


def _best(
    ingredients: Sequence[Ingredient], measure: SoupMetric, options: Iterator[ColumnWeights]
) -> tuple[ColumnWeights, float]:
    best: ColumnWeights = ()
    most = -np.inf
    for shares in options:
        if (score := measure(average_parameters(ingredients, shares))) > most:
            best, most = shares, score
    return best, float(most)


def _make_soup(ingredients: Sequence[Ingredient], shares: ColumnWeights, score: float) -> Soup:
    alphas = {ingredient.name: share for ingredient, share in zip(ingredients, shares, strict=True)}
    return Soup(arrays=average_parameters(ingredients, shares), alphas=alphas, score=score)


SoupRecipe = Literal["soup", "greedy_soup", "searched_soup"]
VALIDATION_RECIPES = {"greedy_soup": greedy_soup, "searched_soup": searched_soup}
"""The recipes that measure a mean on validation queries."""


def text_tower_soup(
    recipe: SoupRecipe, start: TorchTextEncoder, towers: Sequence[TorchTextEncoder], orders: HeldOutNdcg
) -> TorchTextEncoder:
    """The first tower with averaged weights of all towers.

    Args:
        recipe: soup averages all equally; greedy_soup averages those that improve `orders`; searched_soup searches the
            best shares and measures dozens of them.
        start: the tower before fine-tuning.
        towers: of the folds; the first is changed in place.
        orders: metric on judged validation queries; not used by the recipe soup.

    Raises:
        ArtifactError: towers of different architectures.
    """
    base = arrays_digest(get_arrays(start))
    ingredients = [
        Ingredient(name=f"folds/{fold}", arrays=get_arrays(tower), base_digest=base)
        for fold, tower in enumerate(towers)
    ]
    tower = towers[0]

    def score(arrays: NamedArrays) -> float:
        set_arrays(tower, arrays)
        return orders(tower.encode)[WATCHED_METRIC]

    if recipe == "soup":
        set_arrays(tower, average_parameters(ingredients, [1.0 / len(ingredients)] * len(ingredients)))
    else:
        set_arrays(tower, VALIDATION_RECIPES[recipe](ingredients, score).arrays)
    return tower
