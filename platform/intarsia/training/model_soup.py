"""Model soups: one model whose parameters are the weighted mean of several, theta = sum_i alpha_i theta_i with sum_i alpha_i = 1.

A mean of parameters means something only between models of one architecture that were fine-tuned from one starting point: the same number
of the same layer then plays the same part in all of them. Anything else is refused by name. Models are named arrays here (a state dict as
NumPy); whoever measures them brings the network.


The text tower that serves as a mean of the towers of the folds; which means there are is `fusion/soup.py`'s matter.
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
from intarsia.fusion.score.coordinate_ascent import Shares, moves
from intarsia.maths.simplex import simplex_grid
from intarsia.training.text_folder import get_arrays, set_arrays
from intarsia.training.text_training_data import WATCHED, HeldOutNdcg

Arrays = Mapping[str, NDArray[np.generic]]
Measure = Callable[[Arrays], float]
"""What some parameters are worth on validation, higher is better."""

_SUMS_TO_ONE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredient:
    """One fine-tuned model.

    Attributes:
        name: for messages and reports.
        arrays: its parameters and buffers by name.
        base_digest: `arrays_digest` of the parameters that its fine-tuning began with.
    """

    name: str
    arrays: Arrays
    base_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Soup:
    """The mixed parameters, the share of each ingredient by name (0: left out), and what the measure says of the mix."""

    arrays: Arrays
    alphas: Mapping[str, float]
    worth: float


def arrays_digest(arrays: Arrays) -> str:
    """Hex sha256 over names, dtypes, shapes and bits, whatever the order of the names."""
    digest = sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def mix(ingredients: Sequence[Ingredient], alphas: Sequence[float]) -> dict[str, NDArray[np.generic]]:
    """The weighted mean of all parameters, summed in float64 and rounded once to each array's own dtype.

    Arrays that are not floating point (counters, position numbers) have no mean: they are the first ingredient's.

    Args:
        ingredients: of one architecture and one starting point.
        alphas: a share for each; they sum to 1, and may be below 0 (task arithmetic goes there).

    Raises:
        ValueError: no ingredient, not one share for each, or shares that do not sum to 1.
        ArtifactError: another architecture (names, shapes or dtypes of the arrays) or another starting point.
    """
    check_soup(ingredients)
    if len(alphas) != len(ingredients):
        raise ValueError(f"{len(alphas)} shares for {len(ingredients)} ingredients; allowed: one for each")
    if abs(sum(alphas) - 1.0) > _SUMS_TO_ONE:
        raise ValueError(f"the shares {', '.join(f'{alpha:g}' for alpha in alphas)} sum to {sum(alphas):g}; allowed: 1")
    mixed: dict[str, NDArray[np.generic]] = {}
    for name, first in ingredients[0].arrays.items():
        if not np.issubdtype(first.dtype, np.floating):
            mixed[name] = first.copy()
            continue
        total = np.zeros(first.shape)
        for one, alpha in zip(ingredients, alphas, strict=True):
            if alpha:
                total += alpha * one.arrays[name].astype(np.float64)
        mixed[name] = total.astype(first.dtype)
    return mixed


def greedy_soup(ingredients: Sequence[Ingredient], measure: Measure) -> Soup:
    """Begin with the best ingredient; in the order of their worth each other one is stirred in, and stays if the equal mix is not worse.

    Source: Wortsman et al., "Model soups", ICML 2022, recipe 1. arXiv:2203.05482

    Raises:
        ValueError: no ingredient.
        ArtifactError: as `mix`.
    """
    check_soup(ingredients)
    alone = [measure(one.arrays) for one in ingredients]
    in_order = sorted(range(len(ingredients)), key=lambda at: -alone[at])  # stable: of equals the first
    chosen, worth = in_order[:1], alone[in_order[0]]
    for at in in_order[1:]:
        tried = measure(mix([ingredients[i] for i in (*chosen, at)], [1.0 / (len(chosen) + 1)] * (len(chosen) + 1)))
        if tried >= worth:
            chosen, worth = [*chosen, at], tried
    shares = [1.0 / len(chosen) if at in chosen else 0.0 for at in range(len(ingredients))]
    return _soup(ingredients, tuple(shares), worth)


def searched_soup(
    ingredients: Sequence[Ingredient], measure: Measure, *, num_steps: int = 4, sizes: Sequence[float] = (0.1, 0.05)
) -> Soup:
    """The best shares of a grid over the simplex, moved by ever smaller amounts for as long as the measure rises.

    The grid's corners are the ingredients alone, so the soup is never below the best of them on what it is measured by. With m
    ingredients the grid has C(num_steps + m - 1, m - 1) points, each measured once: for costly measures prefer `greedy_soup`.

    Args:
        ingredients: as for `mix`.
        measure: what parameters are worth on validation.
        num_steps: first shares are multiples of 1 / this.
        sizes: of the moves, one after the other.

    Raises:
        ValueError: no ingredient.
        ArtifactError: as `mix`.
    """
    check_soup(ingredients)
    best, worth = _best(ingredients, measure, _grid(len(ingredients), num_steps))
    for size in sizes:
        while True:
            shares, tried = _best(ingredients, measure, moves(best, size))
            if not tried > worth:
                break
            best, worth = shares, tried
    return _soup(ingredients, best, worth)


def check_soup(ingredients: Sequence[Ingredient]) -> None:
    """Refuse what has no mean.

    Raises:
        ValueError: no ingredient.
        ArtifactError: another architecture or another starting point than the first.
    """
    if not ingredients:
        raise ValueError("a soup of 0 ingredients; allowed: 1 or more")
    first = ingredients[0]
    for one in ingredients[1:]:
        for name in sorted(first.arrays.keys() ^ one.arrays.keys()):
            has, lacks = (first, one) if name in first.arrays else (one, first)
            raise ArtifactError(
                f"{has.name} has {name}, {lacks.name} has not: another architecture; mix models of one architecture"
            )
        for name, array in first.arrays.items():
            if (_form(array)) != (_form(one.arrays[name])):
                raise ArtifactError(
                    f"{name} is {_form(array)} in {first.name} and {_form(one.arrays[name])} in {one.name}: another architecture; "
                    "mix models of one architecture"
                )
        if one.base_digest != first.base_digest:
            raise ArtifactError(
                f"{first.name} began from {first.base_digest[:12]}, {one.name} from {one.base_digest[:12]}: another starting point; "
                "mix models that were fine-tuned from the same weights"
            )


def _form(array: NDArray[np.generic]) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _grid(num: int, num_steps: int) -> Iterator[Shares]:
    for steps in simplex_grid(num, num_steps):
        yield tuple(step / num_steps for step in steps)


def _best(ingredients: Sequence[Ingredient], measure: Measure, options: Iterator[Shares]) -> tuple[Shares, float]:
    best: Shares = ()
    most = -np.inf
    for shares in options:
        if (worth := measure(mix(ingredients, shares))) > most:
            best, most = shares, worth
    return best, float(most)


def _soup(ingredients: Sequence[Ingredient], shares: Shares, worth: float) -> Soup:
    alphas = {one.name: share for one, share in zip(ingredients, shares, strict=True)}
    return Soup(arrays=mix(ingredients, shares), alphas=alphas, worth=worth)


SoupRecipe = Literal["soup", "greedy_soup", "searched_soup"]
VALIDATION_RECIPES = {"greedy_soup": greedy_soup, "searched_soup": searched_soup}
"""The recipes that ask what a mean is worth on validation."""


def text_tower_soup(
    recipe: SoupRecipe, start: TorchTextEncoder, towers: Sequence[TorchTextEncoder], orders: HeldOutNdcg
) -> TorchTextEncoder:
    """The first tower with the mixed weights of all, or of those that help, or weighed as helps most.

    Args:
        recipe: soup weighs all alike; greedy_soup those that `orders` says help; searched_soup looks for the best shares, and asks
            `orders` for some dozens of them.
        start: the tower that all of them were before they learned.
        towers: of the folds; the first is changed in place.
        orders: of judged validation queries; soup asks them nothing.

    Raises:
        ArtifactError: towers of different architectures.
    """
    base = arrays_digest(get_arrays(start))
    ingredients = [
        Ingredient(name=f"folds/{fold}", arrays=get_arrays(tower), base_digest=base)
        for fold, tower in enumerate(towers)
    ]
    tasted = towers[0]

    def worth(arrays: Arrays) -> float:
        set_arrays(tasted, arrays)
        return orders(tasted.encode)[WATCHED]

    if recipe == "soup":
        set_arrays(tasted, mix(ingredients, [1.0 / len(ingredients)] * len(ingredients)))
    else:
        set_arrays(tasted, VALIDATION_RECIPES[recipe](ingredients, worth).arrays)
    return tasted
