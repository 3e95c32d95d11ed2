"""Draw images of products: outline by category, colour, pattern, background, noise; several views.

Letters: S width and height of an image in pixels. Colours are planar ([3, S, S]), which is three times faster than
interleaved in NumPy.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from intarsia.simulator.random_streams import stream
from intarsia.simulator.shapes import OUTLINES, OutlinePart, OutlinePoints
from intarsia.simulator.vocabulary import COLOUR_RGB

Plane = NDArray[np.floating[Any]]
"""One value per pixel; float32, which is twice as fast as float64."""
Rgb = NDArray[np.floating[Any]]
"""Planar colour, float32."""

_SUPERSAMPLE = 2
_JPEG_QUALITY = 85
_NOISE_STD = 5.0  # of 255
_NOISE_MARGIN = 64  # pixels by which the window into the noise can shift


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """What an image shows, in keys of the vocabulary.

    Two images of one `instance` show one object (same cut, shade and pattern) from two views.
    """

    category: str
    colour: str
    pattern: str
    instance: int


class ImageRenderer:
    """Draws the images of one market in one size."""

    def __init__(self, seed: int, side_px: int) -> None:
        """Draw the noise.

        Args:
            seed: seed of the market.
            side_px: width and height S.
        """
        self._seed, self._side = seed, side_px
        noise = stream(seed, "noise bank").normal(0, _NOISE_STD, (side_px + _NOISE_MARGIN, side_px + _NOISE_MARGIN))
        self._noise = noise.astype(np.float32)
        axis = (np.arange(side_px, dtype=np.float32) + 0.5) / side_px * 2 - 1
        self._x, self._y = np.meshgrid(axis, axis)

    def draw(
        self, appearance: Appearance, rng: np.random.Generator, *, from_shopper: bool = False, close_up: bool = False
    ) -> Image.Image:
        """Draw one view of a product.

        Args:
            appearance: what the image shows.
            rng: draws position, size, rotation, background and noise of this view.
            from_shopper: vary rotation, position and light more, as in photos taken by shoppers.
            close_up: draw the object larger, so that its edges may be cut off.

        Returns:
            RGB image of S x S pixels.
        """
        instance_rng = stream(self._seed, "instance", appearance.instance)
        stretch = instance_rng.uniform(0.88, 1.12)
        base, trim, accent = _shades(appearance.colour, instance_rng)
        shift, rotation_deg = (0.16, 28.0) if from_shopper else (0.08, 9.0)
        near, far = (1.05, 1.4) if close_up else (0.62, 0.86)
        placement = _Placement(
            rotation=math.radians(rng.normal(0, rotation_deg)),
            scale=(rng.uniform(near, far) * stretch, rng.uniform(near, far) / stretch),
            shift=(rng.uniform(-shift, shift), rng.uniform(-shift, shift)),
            mirrored=bool(rng.random() < 0.4),
        )
        body, detail, edge = self._masks(OUTLINES[appearance.category], placement)
        light = self._light(rng)
        fill = self._fill(appearance.pattern, base, accent, placement, instance_rng)
        scene = self._background(rng)
        scene += (fill * light - scene) * body
        scene += (trim * light - scene) * detail
        scene += (trim * np.float32(0.6) - scene) * (edge * np.float32(0.55))
        if from_shopper:
            scene *= np.float32(rng.uniform(0.8, 1.1))
        scene += self._grain(rng)
        np.clip(scene, 0, 255, out=scene)
        return Image.fromarray(np.ascontiguousarray(scene.astype(np.uint8).transpose(1, 2, 0)))

    def draw_noise(self, rng: np.random.Generator) -> Image.Image:
        """An image without content: independent uniform pixels."""
        return Image.fromarray(rng.integers(0, 256, (self._side, self._side, 3), np.uint8))

    def _masks(self, parts: tuple[OutlinePart, ...], placement: _Placement) -> tuple[Plane, Plane, Plane]:
        """Coverage 0..1 of body, detail and contour, each float32 [S, S]."""
        side = self._side * _SUPERSAMPLE
        body, detail, edge = (Image.new("L", (side, side)) for _ in range(3))
        body_draw, detail_draw, edge_draw = (ImageDraw.Draw(mask) for mask in (body, detail, edge))
        thick = max(1, side // 110)
        for role in ("body", "detail", "hole"):
            for part in (p for p in parts if p.role == role):
                points = _flat((placement.apply(part.points) + 1) * (side / 2))
                width = max(1, round(part.width * side / 2 * min(placement.scale)))
                if role == "body":
                    _draw_part(body_draw, points, width if part.width else 0, 255)
                    if not part.width:
                        edge_draw.line([*points, *points[:4]], fill=255, width=thick)
                elif role == "detail":
                    _draw_part(detail_draw, points, width if part.width else 0, 255)
                else:
                    _draw_part(body_draw, points, 0, 0)
                    _draw_part(detail_draw, points, 0, 0)
                    edge_draw.line([*points, *points[:4]], fill=255, width=thick)
        # the hands of a watch lie over its hole, so the lines of the trim are drawn again
        for part in (p for p in parts if p.role == "detail" and p.width):
            width = max(1, round(part.width * side / 2 * min(placement.scale)))
            _draw_part(detail_draw, _flat((placement.apply(part.points) + 1) * (side / 2)), width, 255)
        return _plane(body), _plane(detail), _plane(edge)

    def _fill(
        self, pattern: str, base: Rgb, accent: Rgb, placement: _Placement, instance_rng: np.random.Generator
    ) -> Rgb:
        """Colour of the body at every pixel, float32 [3, S, S] or [3, 1, 1]; the pattern moves with the object."""
        size = instance_rng.uniform(0.8, 1.25)
        if pattern == "plain":
            return base
        u, v = placement.invert(self._x, self._y)
        is_accent = _PATTERNS[pattern](u * np.float32(size), v * np.float32(size))
        return np.where(is_accent, accent, base)

    def _light(self, rng: np.random.Generator) -> Plane:
        angle, depth = rng.uniform(0, 2 * math.pi), rng.uniform(0.03, 0.14)
        slope = self._x * np.float32(math.cos(angle) * depth) + self._y * np.float32(math.sin(angle) * depth)
        return 1 + slope

    def _background(self, rng: np.random.Generator) -> Rgb:
        """A plain wall, a gradient, a horizon, or boards; pale, so that it differs from the product."""
        wall = (rng.uniform(196, 248) + rng.normal(0, 9, (3, 1, 1))).astype(np.float32)
        other = (rng.uniform(150, 235) + rng.normal(0, 12, (3, 1, 1))).astype(np.float32)
        kind = rng.random()
        if kind < 0.4:
            return np.broadcast_to(wall, (3, self._side, self._side)).copy()
        if kind < 0.65:
            mix = (self._y + 1) / 2
        elif kind < 0.85:
            mix = (self._y > rng.uniform(0.1, 0.7)).astype(np.float32)
        else:
            boards = (self._x * np.float32(rng.uniform(2, 4)) + np.float32(rng.uniform(0, 1))) % 1
            mix = (boards < 0.05).astype(np.float32)
        return wall + (other - wall) * mix

    def _grain(self, rng: np.random.Generator) -> Plane:
        x, y = rng.integers(0, _NOISE_MARGIN, 2)
        return self._noise[y : y + self._side, x : x + self._side] * np.float32(rng.uniform(0.5, 2.0))


def to_jpeg(image: Image.Image, quality: int = _JPEG_QUALITY) -> bytes:
    """Encode an image as the bytes of a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placement:
    """Transform from outline to image coordinates: mirror, scale, rotation (radians), shift."""

    rotation: float
    scale: tuple[float, float]
    shift: tuple[float, float]
    mirrored: bool

    def apply(self, points: OutlinePoints) -> OutlinePoints:
        x, y = points[:, 0] * self.scale[0] * (-1 if self.mirrored else 1), points[:, 1] * self.scale[1]
        cos, sin = math.cos(self.rotation), math.sin(self.rotation)
        return np.stack([x * cos - y * sin + self.shift[0], x * sin + y * cos + self.shift[1]], axis=1)

    def invert(self, x: Plane, y: Plane) -> tuple[Plane, Plane]:
        cos, sin = np.float32(math.cos(self.rotation)), np.float32(math.sin(self.rotation))
        x, y = x - np.float32(self.shift[0]), y - np.float32(self.shift[1])
        u = (x * cos + y * sin) / np.float32(self.scale[0] * (-1 if self.mirrored else 1))
        return u, (y * cos - x * sin) / np.float32(self.scale[1])


def _shades(colour: str, instance_rng: np.random.Generator) -> tuple[Rgb, Rgb, Rgb]:
    """Colours of body, trim and pattern, each float32 [3, 1, 1]."""
    base = np.clip(np.array(COLOUR_RGB[colour]) + instance_rng.normal(0, 9, 3), 0, 255)
    is_dark = base.mean() < 110
    trim = base * 0.5 + 90 if is_dark else base * 0.45
    is_pale = base.mean() > 190  # a lighter pattern would be invisible on it
    accent = base * 0.35 + 165 if is_dark or (not is_pale and instance_rng.random() < 0.5) else base * 0.5
    return _planar(base), _planar(trim), _planar(accent)


def _planar(colour: NDArray[np.float64]) -> Rgb:
    return np.clip(colour, 0, 255).astype(np.float32).reshape(3, 1, 1)


def _flat(points: OutlinePoints) -> list[float]:
    flat: list[float] = points.ravel().tolist()
    return flat


def _draw_part(draw: ImageDraw.ImageDraw, points: list[float], width: int, value: int) -> None:
    if width:
        draw.line(points, fill=value, width=width, joint="curve")
    else:
        draw.polygon(points, fill=value)


def _plane(mask: Image.Image) -> Plane:
    return np.asarray(mask.reduce(_SUPERSAMPLE), np.float32) / np.float32(255)


def _striped(u: Plane, v: Plane) -> NDArray[np.bool_]:
    return _fraction(v * 3.2) < 0.42


def _dotted(u: Plane, v: Plane) -> NDArray[np.bool_]:
    x, y = _bricks(u * 3.4, v * 3.4)
    return x * x + y * y < 0.075


def _checked(u: Plane, v: Plane) -> NDArray[np.bool_]:
    return np.logical_xor(_fraction(u * 1.8) < 0.5, _fraction(v * 1.8) < 0.5)


def _zigzag(u: Plane, v: Plane) -> NDArray[np.bool_]:
    return _fraction(v * 2.8 + np.abs(_fraction(u * 2.6) - 0.5) * 1.3) < 0.42


def _floral(u: Plane, v: Plane) -> NDArray[np.bool_]:
    x, y = _bricks(u * 2.3, v * 2.3)
    radius = np.sqrt(x * x + y * y)
    cos = x / np.maximum(radius, np.float32(1e-6))
    square = cos * cos
    petals = cos * ((16 * square - 20) * square + 5)  # cos(5 t) from cos(t): the Chebyshev polynomial T5
    return (radius < 0.27 + 0.14 * petals) & (radius > 0.07)


def _bricks(u: Plane, v: Plane) -> tuple[Plane, Plane]:
    """Coordinates inside unit cells, -0.5 to 0.5; every second row of cells is shifted by half a cell."""
    odd_row = _fraction(v * 0.5) >= 0.5
    return _fraction(u + odd_row * np.float32(0.5)) - 0.5, _fraction(v) - 0.5


def _fraction(x: Plane) -> Plane:
    """The fractional part of x; several times faster than `x % 1`."""
    return x - np.floor(x)


_PATTERNS = {
    "striped": _striped,
    "dotted": _dotted,
    "checked": _checked,
    "zigzag": _zigzag,
    "floral": _floral,
}
"""Pattern -> where its second colour is, at u, v in -1..1 of the object; all patterns but plain."""
