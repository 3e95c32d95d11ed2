"""Grids of weights that sum to 1, counted in whole steps so that the sum is exact."""

from __future__ import annotations

from collections.abc import Iterator


def simplex_grid(num_parts: int, num_steps: int) -> Iterator[tuple[int, ...]]:
    """Every way to share `num_steps` equal steps among `num_parts` weights, in ascending order.

    There are C(num_steps + num_parts - 1, num_parts - 1) points; divide a point by `num_steps` for weights.

    Raises:
        ValueError: `num_parts` or `num_steps` is below 1.

    >>> list(simplex_grid(2, 2))
    [(0, 2), (1, 1), (2, 0)]
    """
    if num_parts < 1 or num_steps < 1:
        raise ValueError(f"num_parts is {num_parts} and num_steps {num_steps}; allowed: 1 or more of both")
    return _points(num_parts, num_steps)


def _points(num_parts: int, num_steps: int) -> Iterator[tuple[int, ...]]:
    if num_parts == 1:
        yield (num_steps,)
        return
    for first in range(num_steps + 1):
        for rest in _points(num_parts - 1, num_steps - first):
            yield (first, *rest)
