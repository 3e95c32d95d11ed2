"""The outline of every category, as parts in a square from -1 to 1 (y down). Drawing: see `drawing.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

OutlinePoints = NDArray[np.float64]
Role = Literal["body", "detail", "hole"]
"""A body has the colour and pattern of the product, a detail its trim colour; a hole shows the background."""


@dataclass(frozen=True, slots=True)
class OutlinePart:
    """One part of an outline: a filled polygon (width 0) or a line. `points` is float64 [P, 2], x and y."""

    role: Role
    points: OutlinePoints
    width: float = 0.0


def _poly(*xy: float, role: Role = "body") -> OutlinePart:
    return OutlinePart(role, np.array(xy, np.float64).reshape(-1, 2))


def _mirror(*xy: float, role: Role = "body") -> OutlinePart:
    """A polygon from its right half, top to bottom; the left half is the mirror image."""
    right = np.array(xy, np.float64).reshape(-1, 2)
    return OutlinePart(role, np.concatenate([right, right[::-1] * (-1.0, 1.0)]))


def _oval(cx: float, cy: float, rx: float, ry: float, role: Role = "body") -> OutlinePart:
    turn = np.linspace(0, 2 * math.pi, 28, endpoint=False)
    return OutlinePart(role, np.stack([cx + rx * np.cos(turn), cy + ry * np.sin(turn)], axis=1))


def _box(x0: float, y0: float, x1: float, y1: float, role: Role = "body") -> OutlinePart:
    return _poly(x0, y0, x1, y0, x1, y1, x0, y1, role=role)


def _line(width: float, *xy: float, role: Role = "detail") -> OutlinePart:
    return OutlinePart(role, np.array(xy, np.float64).reshape(-1, 2), width)


def _arc(
    width: float, cx: float, cy: float, rx: float, ry: float, start: float, end: float, role: Role = "detail"
) -> OutlinePart:
    """An arc from `start` to `end` degrees; 0 is right, 90 is down."""
    turn = np.radians(np.linspace(start, end, 20))
    return OutlinePart(role, np.stack([cx + rx * np.cos(turn), cy + ry * np.sin(turn)], axis=1), width)


_SHIRT = (0.2, -0.8, 0.45, -0.72)
OUTLINES: dict[str, tuple[OutlinePart, ...]] = {
    "t_shirt": (_mirror(*_SHIRT, 0.95, -0.3, 0.7, -0.1, 0.5, -0.3, 0.5, 0.85), _oval(0, -0.8, 0.22, 0.13, "hole")),
    "shirt": (
        _mirror(*_SHIRT, 0.75, -0.55, 0.95, 0.5, 0.75, 0.55, 0.5, -0.2, 0.5, 0.85),
        _poly(0, -0.6, 0.28, -0.85, 0.3, -0.55, role="detail"),
        _poly(0, -0.6, -0.28, -0.85, -0.3, -0.55, role="detail"),
        _line(0.05, 0, -0.6, 0, 0.85),
    ),
    "hoodie": (
        _mirror(0.25, -0.65, 0.5, -0.6, 0.8, -0.4, 0.95, 0.6, 0.72, 0.65, 0.52, -0.1, 0.52, 0.85),
        _oval(0, -0.62, 0.38, 0.33),
        _oval(0, -0.56, 0.22, 0.22, "detail"),
        _mirror(0.22, 0.25, 0.36, 0.6, role="detail"),
        _line(0.04, -0.08, -0.35, -0.1, 0.0),
        _line(0.04, 0.08, -0.35, 0.1, 0.0),
    ),
    "trousers": (_mirror(0.45, -0.9, 0.55, 0.9, 0.2, 0.9, 0.03, -0.25), _line(0.12, -0.45, -0.86, 0.45, -0.86)),
    "skirt": (_mirror(0.32, -0.65, 0.8, 0.7), _line(0.13, -0.34, -0.62, 0.34, -0.62)),
    "dress": (
        _mirror(0.12, -0.62, 0.2, -0.95, 0.32, -0.95, 0.34, -0.5, 0.24, -0.15, 0.7, 0.9),
        _line(0.08, -0.25, -0.15, 0.25, -0.15),
    ),
    "jacket": (
        _mirror(0.15, -0.8, 0.5, -0.7, 0.82, -0.45, 0.98, 0.55, 0.72, 0.6, 0.55, -0.1, 0.58, 0.7),
        _poly(0, 0.1, 0.15, -0.85, 0.38, -0.5, role="detail"),
        _poly(0, 0.1, -0.15, -0.85, -0.38, -0.5, role="detail"),
        _line(0.06, 0, 0, 0, 0.7),
        _line(0.1, -0.58, 0.66, 0.58, 0.66),
    ),
    "sneakers": (
        _poly(-0.9, -0.35, -0.5, -0.45, -0.15, -0.3, 0.2, 0.0, 0.75, 0.12, 0.95, 0.35, -0.9, 0.35),
        _poly(-0.95, 0.35, 0.98, 0.35, 0.95, 0.52, -0.92, 0.52, role="detail"),
        *(_line(0.06, x, y, x + 0.2, y - 0.16) for x, y in ((-0.2, -0.05), (-0.03, 0.06), (0.14, 0.15))),
    ),
    "boots": (
        _poly(-0.5, -0.9, 0.1, -0.9, 0.12, 0.1, 0.7, 0.3, 0.8, 0.65, -0.5, 0.65),
        _poly(-0.52, 0.65, 0.82, 0.65, 0.82, 0.8, -0.15, 0.8, -0.2, 0.9, -0.52, 0.9, role="detail"),
        _line(0.08, -0.5, -0.72, 0.1, -0.72),
    ),
    "sandals": (
        _oval(-0.42, 0, 0.33, 0.88),
        _oval(0.42, 0, 0.33, 0.88),
        *(_line(0.1, x, -0.45, x + d, 0.0) for x in (-0.42, 0.42) for d in (-0.3, 0.3)),
    ),
    "handbag": (
        _mirror(0.62, -0.25, 0.85, 0.75),
        _arc(0.09, 0, -0.25, 0.4, 0.6, 180, 360),
        _oval(0, 0.0, 0.1, 0.08, "detail"),
    ),
    "backpack": (
        _mirror(0.3, -0.8, 0.55, -0.6, 0.62, 0.8),
        _arc(0.09, 0, -0.8, 0.16, 0.16, 180, 360),
        _box(-0.42, 0.15, 0.42, 0.65, "detail"),
        _line(0.05, -0.5, -0.15, 0.5, -0.15),
    ),
    "suitcase": (
        _box(-0.5, -0.5, 0.5, 0.8),
        _line(0.08, -0.22, -0.5, -0.22, -0.92, 0.22, -0.92, 0.22, -0.5),
        _oval(-0.36, 0.87, 0.1, 0.1, "detail"),
        _oval(0.36, 0.87, 0.1, 0.1, "detail"),
        *(_line(0.04, x, -0.45, x, 0.75) for x in (-0.25, 0.0, 0.25)),
    ),
    "hat": (
        _mirror(0.25, -0.5, 0.48, -0.3, 0.52, 0.2),
        _oval(0.3, 0.26, 0.65, 0.16, "detail"),
        _oval(0, -0.52, 0.07, 0.06, "detail"),
    ),
    "scarf": (
        _oval(0, -0.45, 0.62, 0.38),
        _oval(0, -0.52, 0.3, 0.14, "hole"),
        _poly(0.1, -0.2, 0.5, -0.25, 0.62, 0.9, 0.25, 0.9),
        _poly(-0.3, -0.2, 0.02, -0.15, 0.0, 0.6, -0.36, 0.6),
        *(_line(0.03, x, 0.88, x, 1.0) for x in (0.3, 0.4, 0.5, 0.6)),
    ),
    "umbrella": (
        OutlinePart(
            "body",
            np.concatenate(
                [_arc(0, 0, 0, 0.95, 0.8, 180, 360).points, _poly(0.48, -0.12, 0, 0.02, -0.48, -0.12).points]
            ),
        ),
        _line(0.06, 0, -0.85, 0, 0.75),
        _arc(0.07, -0.14, 0.75, 0.14, 0.16, 0, 180),
    ),
    "cushion": (
        _poly(-0.8, -0.8, 0, -0.7, 0.8, -0.8, 0.72, 0, 0.8, 0.8, 0, 0.7, -0.8, 0.8, -0.72, 0),
        *(_oval(x, y, 0.08, 0.08, "detail") for x in (-0.8, 0.8) for y in (-0.8, 0.8)),
    ),
    "rug": (
        _poly(-0.65, -0.4, 0.65, -0.4, 0.95, 0.5, -0.95, 0.5),
        _line(0.05, -0.58, -0.3, 0.58, -0.3, 0.82, 0.4, -0.82, 0.4, -0.58, -0.3),
        *(_line(0.03, x, 0.5, x * 1.04, 0.62) for x in np.linspace(-0.93, 0.93, 14).tolist()),
    ),
    "lamp": (
        _mirror(0.3, -0.85, 0.65, -0.1),
        _line(0.1, 0, -0.1, 0, 0.7),
        _oval(0, 0.75, 0.4, 0.13, "detail"),
    ),
    "vase": (
        _mirror(0.25, -0.3, 0.18, -0.15, 0.5, 0.25, 0.5, 0.5, 0.3, 0.9),
        _line(0.05, 0, -0.3, -0.25, -0.85),
        _line(0.05, 0, -0.3, 0.2, -0.9),
        _oval(-0.25, -0.85, 0.12, 0.1, "detail"),
        _oval(0.2, -0.88, 0.13, 0.11, "detail"),
    ),
    "mug": (
        _arc(0.15, 0.5, 0.05, 0.35, 0.38, -90, 90, role="body"),
        _box(-0.6, -0.6, 0.5, 0.7),
        _oval(-0.05, -0.6, 0.55, 0.12, "detail"),
    ),
    "pan": (_oval(-0.3, 0.1, 0.62, 0.62), _oval(-0.3, 0.1, 0.46, 0.46, "detail"), _line(0.16, 0.26, -0.1, 0.98, -0.5)),
    "teapot": (
        _oval(0, 0.2, 0.58, 0.5),
        _poly(0.45, 0.2, 0.92, -0.3, 0.98, -0.2, 0.55, 0.5),
        _arc(0.1, -0.58, 0.15, 0.3, 0.3, 90, 270),
        _oval(0, -0.28, 0.33, 0.1, "detail"),
        _oval(0, -0.42, 0.1, 0.1, "detail"),
    ),
    "headphones": (
        _arc(0.13, 0, 0.1, 0.68, 0.85, 180, 360, role="body"),
        _oval(-0.66, 0.3, 0.22, 0.42),
        _oval(0.66, 0.3, 0.22, 0.42),
        _oval(-0.52, 0.3, 0.12, 0.32, "detail"),
        _oval(0.52, 0.3, 0.12, 0.32, "detail"),
    ),
    "phone_case": (
        _poly(-0.4, -0.9, 0.4, -0.9, 0.47, -0.83, 0.47, 0.83, 0.4, 0.9, -0.4, 0.9, -0.47, 0.83, -0.47, -0.83),
        _box(-0.36, -0.78, 0.02, -0.4, "detail"),
        _oval(-0.25, -0.67, 0.07, 0.07, "hole"),
        _oval(-0.09, -0.51, 0.07, 0.07, "hole"),
    ),
    "watch": (
        _box(-0.22, -0.98, 0.22, 0.98),
        _oval(0, 0, 0.48, 0.48, "detail"),
        _oval(0, 0, 0.36, 0.36, "hole"),
        _line(0.06, 0, 0, 0, -0.26),
        _line(0.06, 0, 0, 0.18, 0.1),
    ),
    "toy_car": (
        _poly(-0.92, 0.35, -0.9, 0.0, -0.5, -0.08, -0.3, -0.45, 0.3, -0.45, 0.55, -0.08, 0.92, 0.02, 0.92, 0.35),
        _poly(-0.38, -0.08, -0.24, -0.35, -0.03, -0.35, -0.03, -0.08, role="hole"),
        _poly(0.06, -0.08, 0.06, -0.35, 0.25, -0.35, 0.4, -0.08, role="hole"),
        _oval(-0.5, 0.38, 0.22, 0.22, "detail"),
        _oval(0.5, 0.38, 0.22, 0.22, "detail"),
    ),
    "teddy": (
        _oval(-0.34, -0.78, 0.17, 0.17),
        _oval(0.34, -0.78, 0.17, 0.17),
        _oval(-0.52, 0.1, 0.18, 0.3),
        _oval(0.52, 0.1, 0.18, 0.3),
        _oval(-0.3, 0.78, 0.22, 0.2),
        _oval(0.3, 0.78, 0.22, 0.2),
        _oval(0, 0.3, 0.48, 0.52),
        _oval(0, -0.45, 0.43, 0.4),
        _oval(0, -0.3, 0.16, 0.12, "detail"),
        _oval(-0.16, -0.55, 0.05, 0.05, "detail"),
        _oval(0.16, -0.55, 0.05, 0.05, "detail"),
    ),
    "lipstick": (
        _poly(-0.2, -0.55, 0.2, -0.9, 0.2, -0.1, -0.2, -0.1),
        _box(-0.24, -0.1, 0.24, 0.2, "detail"),
        _box(-0.3, 0.2, 0.3, 0.9),
    ),
    "perfume": (
        _mirror(0.35, -0.3, 0.6, -0.12, 0.6, 0.85),
        _box(-0.16, -0.5, 0.16, -0.3, "detail"),
        _box(-0.25, -0.88, 0.25, -0.5, "detail"),
        _box(-0.32, 0.2, 0.32, 0.5, "detail"),
    ),
    "ball": (
        _oval(0, 0, 0.85, 0.85),
        _poly(
            *(f(k * 2 * math.pi / 5 - math.pi / 2) * 0.3 for k in range(5) for f in (math.cos, math.sin)),
            role="detail",
        ),
        *(
            _line(0.05, 0.3 * math.cos(a), 0.3 * math.sin(a), 0.85 * math.cos(a), 0.85 * math.sin(a))
            for a in (k * 2 * math.pi / 5 - math.pi / 2 for k in range(5))
        ),
    ),
    "bottle": (
        _mirror(0.18, -0.6, 0.34, -0.4, 0.36, 0.92),
        _box(-0.22, -0.92, 0.22, -0.6, "detail"),
        _line(0.06, -0.35, 0.6, 0.35, 0.6),
    ),
    "yoga_mat": (
        _poly(-0.75, -0.3, 0.95, -0.3, 0.95, 0.35, -0.75, 0.35),
        _oval(-0.75, 0.02, 0.22, 0.33),
        *(_arc(0.04, -0.75, 0.02, r, r * 1.5, 0, 350) for r in (0.07, 0.15)),
        _line(0.07, -0.15, -0.3, -0.15, 0.35),
        _line(0.07, 0.55, -0.3, 0.55, 0.35),
    ),
}  # fmt: skip
"""Category key -> its parts, in drawing order; bodies are drawn first, then details, then holes."""
