"""Shares of columns whose weighted sum ranks some lists best: a grid over the simplex, then moves of ever smaller shares.

nDCG is measured itself, not a smooth stand-in, so few columns and a few hundred lists are enough.

Letters: n candidates of all queries, M columns.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intarsia.fusion.score.listwise import weighted_sum
from intarsia.fusion.training_data import ListGains
from intarsia.maths.arrays import Floats
from intarsia.maths.ndcg import mean_known
from intarsia.maths.simplex import simplex_grid

Shares = tuple[float, ...]

_MOVES = (0.1, 0.05, 0.025)
_LEAST_GAIN = 1e-9  # of nDCG: what is smaller is rounding


def grid_points(num_columns: int, num_steps: int) -> Iterator[Shares]:
    """Equal shares, then every way to cut 1 into steps of 1 / num_steps."""
    yield (1.0 / num_columns,) * num_columns
    for steps in simplex_grid(num_columns, num_steps):
        yield tuple(step / num_steps for step in steps)


def best_shares(columns_Mn: Floats, lists: ListGains, starts: Iterator[Shares]) -> tuple[Shares, float]:
    """The best of some starts, moved for as long as some move raises nDCG@k; and the mean nDCG@k it has.

    Args:
        columns_Mn: finite.
        lists: what an order is worth.
        starts: shares of 0 or more that sum to 1; of equals the first is taken.

    Source: coordinate ascent on the measure itself after Metzler and Croft, "Linear feature-based models for information retrieval",
    Information Retrieval 2007. doi:10.1007/s10791-006-9019-z
    """

    def worth(shares: Shares) -> float:
        return mean_known(lists.ndcg_G(weighted_sum(np.array(shares), columns_Mn)), without_any=0.0)

    best: Shares = ()
    most = -1.0
    for shares in starts:
        if (value := worth(shares)) > most + _LEAST_GAIN:
            best, most = shares, value
    for size in _MOVES:
        moved = True
        while moved:
            moved = False
            for shares in moves(best, size):
                if (value := worth(shares)) > most + _LEAST_GAIN:
                    best, most, moved = shares, value, True
                    break
    return best, most


def moves(shares: Shares, size: float) -> Iterator[Shares]:
    """All ways to take up to one size's share from one column and give it to another."""
    for giver, given in enumerate(shares):
        amount = min(size, given)
        for taker in range(len(shares)):
            if taker != giver and amount > 0:
                changed = list(shares)
                changed[giver] -= amount
                changed[taker] += amount
                yield tuple(changed)
