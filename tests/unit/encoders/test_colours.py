from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from intarsia.encoders.colours import ColourHistogram

HISTOGRAM = ColourHistogram()
RED, BLUE, WHITE = (200, 20, 30), (30, 40, 190), (255, 255, 255)


def canvas(
    ground: tuple[int, int, int], things: dict[tuple[int, int, int], slice], side: int = 64
) -> NDArray[np.uint8]:
    """A square of one colour with bars of others."""
    pixels_SS3 = np.full((side, side, 3), ground, np.uint8)
    for colour, rows in things.items():
        pixels_SS3[rows] = colour
    return pixels_SS3


def colours(*images: NDArray[np.uint8]) -> NDArray[np.float32]:
    histograms: NDArray[np.float32] = HISTOGRAM(torch.from_numpy(np.stack(images))).numpy()
    return histograms


def test_the_white_background_does_not_count() -> None:
    whole, part = colours(canvas(RED, {}), canvas(WHITE, {RED: slice(24, 40)}))
    assert whole @ part == pytest.approx(1.0, abs=1e-3)


def test_a_white_image_is_its_own_colour() -> None:
    white, red = colours(canvas(WHITE, {}), canvas(RED, {}))
    assert np.isfinite(white).all()
    assert white @ red < 0.3


def test_equal_shares_of_two_colours_lie_between_both() -> None:
    red, blue, both = colours(canvas(RED, {}), canvas(BLUE, {}), canvas(RED, {BLUE: slice(0, 32)}))
    assert red @ blue < 0.1
    assert both @ red == pytest.approx(both @ blue, abs=0.05)
    assert both @ red == pytest.approx(0.5**0.5, abs=0.05)  # the Bhattacharyya coefficient of a half


def test_the_middle_is_seen_apart_from_the_whole() -> None:
    edge, middle = colours(canvas(RED, {BLUE: slice(0, 16)}), canvas(RED, {BLUE: slice(24, 40)}))
    half = HISTOGRAM.width // 2
    assert edge[:half] @ middle[:half] > 0.99 * np.linalg.norm(edge[:half]) * np.linalg.norm(middle[:half])
    assert edge[half:] @ middle[half:] < 0.9 * np.linalg.norm(edge[half:]) * np.linalg.norm(middle[half:])


@pytest.mark.parametrize("side", [1, 3, 32, 160])
def test_vectors_are_unit_at_any_side(side: int) -> None:
    rng = np.random.default_rng(side)
    histograms = colours(*rng.integers(0, 256, (3, side, side, 3), np.uint8))
    assert np.linalg.norm(histograms, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert histograms.shape == (3, HISTOGRAM.width)
