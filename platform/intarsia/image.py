"""Decode image files to RGB pixels, or raise an error with a reason code. Used for catalog images and query images.

Resizing for a model: see `encoders/inputs.py`.
"""

from __future__ import annotations

import io
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from intarsia.errors import IntarsiaError

MAX_PIXELS = 50_000_000
"""Larger images (width x height) are refused before they are decoded, because of decompression bombs."""

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Allowed formats. Pillow supports more, but some of them run other programs on untrusted bytes (EPS)."""


class ImageFault(StrEnum):
    """Why an image cannot be used; also reason codes of `rejected_products`."""

    ABSENT = "image_absent"
    UNREADABLE = "image_unreadable"
    TOO_LARGE = "image_too_large"
    PLACEHOLDER = "image_placeholder"


class ImageError(IntarsiaError):
    """An image cannot be used; `fault` says why."""

    def __init__(self, fault: ImageFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault

    def __reduce__(self) -> tuple[Any, ...]:  # keeps `fault` when pickled
        return type(self), (self.fault, str(self))


def decode(content: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an image file to uint8 [height, width, 3].

    Transparent pixels are blended with white; the EXIF rotation is applied.

    Raises:
        ImageError: no bytes (ABSENT), not an image or a damaged one (UNREADABLE), more than `max_pixels` (TOO_LARGE).
    """
    with _open(content, max_pixels) as image:
        try:
            image.load()
            return _pixels(ImageOps.exif_transpose(image))
        except Exception as error:  # on malformed bytes the codecs raise errors of any type
            raise ImageError(ImageFault.UNREADABLE, f"the image is damaged: {error}") from None


def size_of(content: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read (width, height) from the header alone; raises like `decode`."""
    with _open(content, max_pixels) as image:
        return image.size


def _open(content: bytes, max_pixels: int) -> Image.Image:
    if not content:
        raise ImageError(ImageFault.ABSENT, "the image has no bytes")
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(ImageFault.TOO_LARGE, f"the image is too large: {error}") from None
    except Exception as error:
        raise ImageError(ImageFault.UNREADABLE, f"the bytes are not an image: {type(error).__name__}") from None
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(ImageFault.TOO_LARGE, f"the image has {width}x{height} pixels; allowed: {max_pixels} in all")
    return image


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):  # Pillow would clip every level above 255 to white
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        background = Image.new("RGBA", layered.size, "white")
        image = Image.alpha_composite(background, layered)
    return np.asarray(image.convert("RGB"))
