"""Grids of weights that sum to one, counted in whole steps so that the sum is exact."""

from __future__ import annotations

from collections.abc import Iterator


def simplex_grid(num_parts: int, num_steps: int) -> Iterator[tuple[int, ...]]:
    """Every way to share `num_steps` equal steps among `num_parts` weights: C(steps + parts - 1, parts - 1) points, in order.

    Raises:
        ValueError: fewer than one part or step.
    """
    if num_parts < 1 or num_steps < 1:
        raise ValueError(f"a grid of {num_parts} parts and {num_steps} steps; allowed: 1 or more of both")
    return _shares(num_parts, num_steps)


def _shares(num_parts: int, num_steps: int) -> Iterator[tuple[int, ...]]:
    if num_parts == 1:
        yield (num_steps,)
        return
    for first in range(num_steps + 1):
        for rest in _shares(num_parts - 1, num_steps - first):
            yield (first, *rest)
