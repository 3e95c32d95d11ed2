"""Patterns on things: where the second colour is, at places u, v of the thing's own square (-1 to 1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.floating[Any]]
"""One value per pixel; float32 in fact: twice as fast as float64, and more than a picture needs."""


def _striped(u: Plane, v: Plane) -> NDArray[np.bool_]:
    return _within(v * 3.2) < 0.42


def _dotted(u: Plane, v: Plane) -> NDArray[np.bool_]:
    x, y = _bricks(u * 3.4, v * 3.4)
    return x * x + y * y < 0.075


def _checked(u: Plane, v: Plane) -> NDArray[np.bool_]:
    return np.logical_xor(_within(u * 1.8) < 0.5, _within(v * 1.8) < 0.5)


def _zigzag(u: Plane, v: Plane) -> NDArray[np.bool_]:
    return _within(v * 2.8 + np.abs(_within(u * 2.6) - 0.5) * 1.3) < 0.42


def _floral(u: Plane, v: Plane) -> NDArray[np.bool_]:
    x, y = _bricks(u * 2.3, v * 2.3)
    radius = np.sqrt(x * x + y * y)
    cos = x / np.maximum(radius, np.float32(1e-6))
    square = cos * cos
    petals = cos * ((16 * square - 20) * square + 5)  # cos(5 t) out of cos(t): the Chebyshev polynomial T5
    return (radius < 0.27 + 0.14 * petals) & (radius > 0.07)


def _bricks(u: Plane, v: Plane) -> tuple[Plane, Plane]:
    """Place inside unit cells, -0.5 to 0.5; every second row is moved by half a cell."""
    odd_row = _within(v * 0.5) >= 0.5
    return _within(u + odd_row * np.float32(0.5)) - 0.5, _within(v) - 0.5


def _within(x: Plane) -> Plane:
    """The part of x after the whole number (x modulo 1), several times faster than the operator."""
    return x - np.floor(x)


PATTERN_MAKERS = {
    "striped": _striped,
    "dotted": _dotted,
    "checked": _checked,
    "zigzag": _zigzag,
    "floral": _floral,
}
"""Every pattern but plain, which has no second colour."""
