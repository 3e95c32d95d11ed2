"""Named random streams: the draws of one thing never depend on how many were made for another."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_OptionT = TypeVar("_OptionT")


def stream(seed: int, name: str, index: int = 0) -> np.random.Generator:
    """The random generator of one thing, for example ("listing", product 17).

    The name is part of the seed, so renaming a stream changes its draws. Equal arguments give equal draws in any
    process and in any order of calls, so a product does not depend on the number of processes that generate the market.

    >>> stream(7, "listing", 17).random() == stream(7, "listing", 17).random()
    True
    """
    return np.random.default_rng([seed, zlib.crc32(name.encode()), index])


def choose(rng: np.random.Generator, options: Sequence[_OptionT]) -> _OptionT:
    """Draw one of the options with equal probability."""
    return options[int(rng.integers(len(options)))]
