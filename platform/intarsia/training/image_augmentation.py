"""Pictures as another photographer might have taken them: a closer crop, mirrored, in other light.

Colour is what many queries ask for: light changes brightness, contrast and saturation, never the hue.

Letters: N pictures, S side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from intarsia.config import check_range, setting
from intarsia.training.task import Rows

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # how bright the eye finds red, green and blue (ITU-R BT.601)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelsConfig:
    """How much pictures are changed; the defaults of 1 and 0 for all of them would change nothing."""

    crop: float = setting("smallest share of the area that a crop keeps; 1 crops nothing", 0.7)
    flip: float = setting("share of the pictures that are mirrored; 0 mirrors none", 0.5)
    jitter: float = setting("brightness, contrast and saturation are multiplied by 1 ± up to this; 0 leaves them", 0.15)

    def __post_init__(self) -> None:
        check_range(self, "crop", low=0.05, high=1.0)
        check_range(self, "flip", low=0.0, high=1.0)
        check_range(self, "jitter", low=0.0, high=0.9)


def augment_pixels(
    pixels_NSS3: NDArray[np.uint8], rows_N: Rows, step: int, config: PixelsConfig, *, seed: int
) -> NDArray[np.uint8]:
    """Each picture changed by chance, which depends on the seed, the step and its row alone.

    Args:
        pixels_NSS3: squares, as `read_pixels` makes them; left as they are.
        rows_N: the examples they belong to.
        step: of the training.
        config: how much.
        seed: of the fit.
    """
    changed_NSS3 = np.empty_like(pixels_NSS3)
    for n, row in enumerate(rows_N):
        changed_NSS3[n] = _changed(pixels_NSS3[n], config, np.random.default_rng((seed, step, int(row))))
    return changed_NSS3


def _changed(pixels_SS3: NDArray[np.uint8], config: PixelsConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    pixels_SS3 = _cropped(pixels_SS3, rng.uniform(config.crop, 1.0), rng.random(2))
    if rng.random() < config.flip:
        pixels_SS3 = pixels_SS3[:, ::-1]
    return _relit(pixels_SS3, 1.0 + config.jitter * rng.uniform(-1.0, 1.0, 3)) if config.jitter else pixels_SS3


def _cropped(pixels_SS3: NDArray[np.uint8], area: float, place_2: NDArray[np.float64]) -> NDArray[np.uint8]:
    side = len(pixels_SS3)
    window = max(1, round(side * math.sqrt(area)))
    if window == side:
        return pixels_SS3
    top, left = (int(share * (side - window + 1)) for share in place_2)
    cut = Image.fromarray(pixels_SS3[top : top + window, left : left + window])
    return np.asarray(cut.resize((side, side), Image.Resampling.BICUBIC))


def _relit(pixels_SS3: NDArray[np.uint8], factors_3: NDArray[np.float64]) -> NDArray[np.uint8]:
    brightness, contrast, saturation = factors_3.astype(np.float32)
    light_SS3 = pixels_SS3.astype(np.float32) * brightness
    grey_SS1 = (light_SS3 @ _GREY)[:, :, None]
    mean = grey_SS1.mean()
    light_SS3 = mean + contrast * (grey_SS1 + saturation * (light_SS3 - grey_SS1) - mean)
    relit_SS3: NDArray[np.uint8] = np.clip(np.rint(light_SS3), 0, 255).astype(np.uint8)
    return relit_SS3
