"""Bytes to RGB pixels, with a reason when it cannot be: catalog pictures and query pictures are read through this one door.

Resizing for a model is `encoders/`'s matter.
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
"""Width x height above which a picture is refused before it is decoded: a decompression bomb, or a scan nobody wants in a shop."""

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""What shops and cameras write. Pillow knows more, some of which start other programs (EPS) on bytes that a stranger sent."""


class ImageFault(StrEnum):
    """Why a picture cannot be used; these are the reason codes of the rejected table."""

    ABSENT = "image_absent"
    UNREADABLE = "image_unreadable"
    TOO_LARGE = "image_too_large"
    PLACEHOLDER = "image_placeholder"


class ImageError(IntarsiaError):
    """A picture that cannot be used, with its `fault`."""

    def __init__(self, fault: ImageFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault

    def __reduce__(self) -> tuple[Any, ...]:  # it must come whole out of another process
        return type(self), (self.fault, str(self))


def decode(content: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """A picture's bytes as uint8 [height, width, 3]; transparency is laid on white, EXIF rotation is applied.

    Raises:
        ImageError: no bytes (ABSENT), not a picture or a torn one (UNREADABLE), more than `max_pixels` (TOO_LARGE).
    """
    with _open(content, max_pixels) as image:
        try:
            image.load()
            return _pixels(ImageOps.exif_transpose(image))
        except Exception as error:  # the codecs answer hostile bytes with errors of any kind
            raise ImageError(ImageFault.UNREADABLE, f"the picture is torn: {error}") from None


def size_of(content: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(width, height) read from the header alone; raises like `decode`."""
    with _open(content, max_pixels) as image:
        return image.size


def _open(content: bytes, max_pixels: int) -> Image.Image:
    if not content:
        raise ImageError(ImageFault.ABSENT, "the picture has no bytes")
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(ImageFault.TOO_LARGE, f"the picture is too large: {error}") from None
    except Exception as error:
        raise ImageError(ImageFault.UNREADABLE, f"the bytes are not a picture: {type(error).__name__}") from None
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(ImageFault.TOO_LARGE, f"the picture has {width}x{height} pixels; allowed: {max_pixels} in all")
    return image


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):  # Pillow would cut every level above 255 to white
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        ground = Image.new("RGBA", layered.size, "white")
        image = Image.alpha_composite(ground, layered)
    return np.asarray(image.convert("RGB"))
