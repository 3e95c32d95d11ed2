"""Named random streams: what is drawn for one thing never depends on how much was drawn for another."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def stream(seed: int, name: str, index: int = 0) -> np.random.Generator:
    """The generator of one thing, for example ("listing", product 17).

    Equal arguments give equal draws in any process and in any order of calls, which is what makes a product's content
    independent of the number of processes that make the market.
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode()), index])


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def owned_by(who: str) -> str:
    """The English possessive: women's, kids'."""
    return f"{who}'" if who.endswith("s") else f"{who}'s"


def pick_word(rng: np.random.Generator, words: Sequence[str], share_first: float = 0.6) -> str:
    """The first (usual) word with the given share, else one of its synonyms."""
    return words[0] if len(words) == 1 or rng.random() < share_first else pick(rng, words[1:])
