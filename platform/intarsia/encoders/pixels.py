"""Picture bytes to the square of pixels that image encoders read: one way for catalog pictures and query pictures.

Letters: N pictures, S side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from intarsia.image import decode

_GROUND = (255, 255, 255)  # what most shops photograph on, and what `decode` lays transparency on


def read_pixels(images: Sequence[bytes], image_px: int) -> NDArray[np.uint8]:
    """uint8 [N, S, S, 3]: each picture whole, scaled to fit, centred on white.

    Cropping would lose the ends of ties and trousers, stretching their shape. Scaling is bicubic with the filter widened on reduction
    (Pillow's way), so that fine patterns become their mean and not an alias.

    Raises:
        ImageError: a picture that cannot be decoded, with its fault.
    """
    pixels_NSS3 = np.empty((len(images), image_px, image_px, 3), np.uint8)
    for n, content in enumerate(images):
        pixels_NSS3[n] = _fit(decode(content), image_px)
    return pixels_NSS3


def _fit(rgb: NDArray[np.uint8], image_px: int) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    scale = image_px / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    scaled = Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC)
    square = Image.new("RGB", (image_px, image_px), _GROUND)
    square.paste(scaled, ((image_px - size[0]) // 2, (image_px - size[1]) // 2))
    return np.asarray(square)
