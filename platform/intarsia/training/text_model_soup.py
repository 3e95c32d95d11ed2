"""The text tower that serves as a mean of the towers of the folds; which means there are is `fusion/soup.py`'s matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from intarsia.encoders.torch_text import TorchTextEncoder
from intarsia.training.model_soup import Arrays, Ingredient, arrays_digest, greedy_soup, mix, searched_soup
from intarsia.training.text_folder import arrays_of, put_arrays
from intarsia.training.text_training_data import WATCHED, HeldOutOrders

Recipe = Literal["soup", "greedy_soup", "searched_soup"]
PROBED = {"greedy_soup": greedy_soup, "searched_soup": searched_soup}
"""The recipes that ask what a mean is worth on validation."""


def soup_of_towers(
    recipe: Recipe, start: TorchTextEncoder, towers: Sequence[TorchTextEncoder], orders: HeldOutOrders
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
    base = arrays_digest(arrays_of(start))
    ingredients = [
        Ingredient(name=f"folds/{fold}", arrays=arrays_of(tower), base_digest=base) for fold, tower in enumerate(towers)
    ]
    tasted = towers[0]

    def worth(arrays: Arrays) -> float:
        put_arrays(tasted, arrays)
        return orders(tasted.encode)[WATCHED]

    if recipe == "soup":
        put_arrays(tasted, mix(ingredients, [1.0 / len(ingredients)] * len(ingredients)))
    else:
        put_arrays(tasted, PROBED[recipe](ingredients, worth).arrays)
    return tasted
