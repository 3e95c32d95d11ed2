"""Draws products: outline by category, colour, pattern, background, noise; several views. The encoders know nothing of it.

Letters: S side of the picture in pixels. Colours are planar ([3, S, S]): three times faster than interleaved in NumPy.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from intarsia.simulator.attribute_words import COLOUR_RGB
from intarsia.simulator.patterns import PATTERN_MAKERS, Plane
from intarsia.simulator.random_streams import stream
from intarsia.simulator.shapes import OUTLINES, Part, Points

Rgb = NDArray[np.floating[Any]]
"""Planar colour, float32 in fact."""

_SUPERSAMPLE = 2
_JPEG_QUALITY = 85
_NOISE_STD = 5.0  # of 255
_NOISE_MARGIN = 64  # pixels by which the window into the noise can be moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """What a picture can show of a product, in keys of the vocabulary; `instance` is the number of the thing itself.

    Two pictures of one instance show the same thing (same cut, same shade, same pattern) from two views.
    """

    category: str
    colour: str
    pattern: str
    instance: int


class Painter:
    """Draws pictures of one market and size.

    Args:
        seed: of the market.
        side_px: S.
    """

    def __init__(self, seed: int, side_px: int) -> None:
        self._seed, self._side = seed, side_px
        noise = stream(seed, "noise bank").normal(0, _NOISE_STD, (side_px + _NOISE_MARGIN, side_px + _NOISE_MARGIN))
        self._noise = noise.astype(np.float32)
        axis = (np.arange(side_px, dtype=np.float32) + 0.5) / side_px * 2 - 1
        self._x, self._y = np.meshgrid(axis, axis)

    def draw(
        self, look: Appearance, rng: np.random.Generator, *, from_shopper: bool = False, close_up: bool = False
    ) -> Image.Image:
        """One view of a product.

        Args:
            look: what is to be seen.
            rng: of this view: place, size, turn, background, noise.
            from_shopper: as taken by a shopper: more turned, placed and lit at random; otherwise as a shop takes them.
            close_up: nearer, so that the edges of the thing may be cut off.

        Returns:
            RGB, S x S.
        """
        own = stream(self._seed, "instance", look.instance)
        stretch = own.uniform(0.88, 1.12)
        base, trim, accent = _shades(look.colour, own)
        shift, turn_deg = (0.16, 28.0) if from_shopper else (0.08, 9.0)
        near, far = (1.05, 1.4) if close_up else (0.62, 0.86)
        place = _Placing(
            turn=math.radians(rng.normal(0, turn_deg)),
            scale=(rng.uniform(near, far) * stretch, rng.uniform(near, far) / stretch),
            shift=(rng.uniform(-shift, shift), rng.uniform(-shift, shift)),
            mirrored=bool(rng.random() < 0.4),
        )
        body, detail, edge = self._masks(OUTLINES[look.category], place)
        light = self._light(rng)
        fill = self._fill(look.pattern, base, accent, place, own)
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
        """A picture that tells nothing: independent uniform pixels."""
        return Image.fromarray(rng.integers(0, 256, (self._side, self._side, 3), np.uint8))

    def _masks(self, parts: tuple[Part, ...], place: _Placing) -> tuple[Plane, Plane, Plane]:
        """Coverage 0..1 of body, trim and contour, each float32 [S, S]."""
        side = self._side * _SUPERSAMPLE
        body, detail, edge = (Image.new("L", (side, side)) for _ in range(3))
        on_body, on_detail, on_edge = (ImageDraw.Draw(mask) for mask in (body, detail, edge))
        thick = max(1, side // 110)
        for role in ("body", "detail", "hole"):
            for part in (p for p in parts if p.role == role):
                points = _flat((place.apply(part.points) + 1) * (side / 2))
                width = max(1, round(part.width * side / 2 * min(place.scale)))
                if role == "body":
                    _put(on_body, points, width if part.width else 0, 255)
                    if not part.width:
                        on_edge.line([*points, *points[:4]], fill=255, width=thick)
                elif role == "detail":
                    _put(on_detail, points, width if part.width else 0, 255)
                else:
                    _put(on_body, points, 0, 0)
                    _put(on_detail, points, 0, 0)
                    on_edge.line([*points, *points[:4]], fill=255, width=thick)
        # a watch's hands lie over its hole: lines of the trim are painted once more
        for part in (p for p in parts if p.role == "detail" and p.width):
            width = max(1, round(part.width * side / 2 * min(place.scale)))
            _put(on_detail, _flat((place.apply(part.points) + 1) * (side / 2)), width, 255)
        return _plane(body), _plane(detail), _plane(edge)

    def _fill(self, pattern: str, base: Rgb, accent: Rgb, place: _Placing, own: np.random.Generator) -> Rgb:
        """Colour of the body at every pixel, float32 [3, S, S] or [3, 1, 1], the pattern fixed to the thing."""
        size = own.uniform(0.8, 1.25)
        if pattern == "plain":
            return base
        u, v = place.invert(self._x, self._y)
        where = PATTERN_MAKERS[pattern](u * np.float32(size), v * np.float32(size))
        return np.where(where, accent, base)

    def _light(self, rng: np.random.Generator) -> Plane:
        angle, depth = rng.uniform(0, 2 * math.pi), rng.uniform(0.03, 0.14)
        slope = self._x * np.float32(math.cos(angle) * depth) + self._y * np.float32(math.sin(angle) * depth)
        return 1 + slope

    def _background(self, rng: np.random.Generator) -> Rgb:
        """A studio wall, a fading wall, a room with a floor, or boards; pale, so that it does not pass for the product."""
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
    """A picture as the bytes of a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placing:
    """From the square of the outline to the square of the picture: mirror, scale, turn (radians), shift."""

    turn: float
    scale: tuple[float, float]
    shift: tuple[float, float]
    mirrored: bool

    def apply(self, points: Points) -> Points:
        x, y = points[:, 0] * self.scale[0] * (-1 if self.mirrored else 1), points[:, 1] * self.scale[1]
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        return np.stack([x * cos - y * sin + self.shift[0], x * sin + y * cos + self.shift[1]], axis=1)

    def invert(self, x: Plane, y: Plane) -> tuple[Plane, Plane]:
        cos, sin = np.float32(math.cos(self.turn)), np.float32(math.sin(self.turn))
        x, y = x - np.float32(self.shift[0]), y - np.float32(self.shift[1])
        u = (x * cos + y * sin) / np.float32(self.scale[0] * (-1 if self.mirrored else 1))
        return u, (y * cos - x * sin) / np.float32(self.scale[1])


def _shades(colour: str, own: np.random.Generator) -> tuple[Rgb, Rgb, Rgb]:
    """Colour of the body, of the trim, and of the pattern's second colour, each float32 [3, 1, 1]."""
    base = np.clip(np.array(COLOUR_RGB[colour]) + own.normal(0, 9, 3), 0, 255)
    is_dark = base.mean() < 110
    trim = base * 0.5 + 90 if is_dark else base * 0.45
    is_pale = base.mean() > 190  # a lighter pattern could not be seen on it
    accent = base * 0.35 + 165 if is_dark or (not is_pale and own.random() < 0.5) else base * 0.5
    return _planar(base), _planar(trim), _planar(accent)


def _planar(colour: NDArray[np.float64]) -> Rgb:
    return np.clip(colour, 0, 255).astype(np.float32).reshape(3, 1, 1)


def _flat(points: Points) -> list[float]:
    flat: list[float] = points.ravel().tolist()
    return flat


def _put(on: ImageDraw.ImageDraw, points: list[float], width: int, value: int) -> None:
    if width:
        on.line(points, fill=value, width=width, joint="curve")
    else:
        on.polygon(points, fill=value)


def _plane(mask: Image.Image) -> Plane:
    return np.asarray(mask.reduce(_SUPERSAMPLE), np.float32) / np.float32(255)
