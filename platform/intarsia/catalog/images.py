"""Read, check and hash the images of a product. An unusable image is rejected with its reason; the product is kept.

Placeholder images that many products share: see `resolve.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from intarsia.catalog.cell_parsers import get_cell, is_blank
from intarsia.catalog.mapping import Columns, ImagesShape, column_list
from intarsia.catalog.rejects import Reason, excerpt
from intarsia.ids import sha256_bytes
from intarsia.image import ImageError, ImageFault, decode
from intarsia.records.product import ImageRef

RejectImage = Callable[[Reason | ImageFault, str, str], None]
"""Called with (reason, found, fix) for each image that is left out."""

_FLAT_RANGE = 2  # largest difference of 8-bit levels that JPEG noise alone causes
_PHASH_PX, _PHASH_SIDE = 32, 8


@dataclass(frozen=True, slots=True)
class ImageCell:
    """One image of a row: a file below the root, or its bytes."""

    source: str
    content: bytes | None = None


def image_cells(raw: Mapping[str, Any], columns: Columns, separator: str) -> Iterator[ImageCell | None]:
    """Yield the images in the image columns of a row, in order; None for a cell that is neither a name nor bytes."""
    for column in column_list(columns):
        yield from _cells(get_cell(raw, column), column, separator)


def _cells(value: object, column: str, separator: str) -> Iterator[ImageCell | None]:
    if is_blank(value):
        return
    if isinstance(value, list | tuple):
        for entry in value:
            yield from _cells(entry, column, separator)
    elif isinstance(value, str):
        names = value.split(separator) if separator else [value]
        yield from (ImageCell(name.strip()) for name in names if name.strip())
    elif isinstance(value, bytes):
        yield ImageCell(column, value)
    elif isinstance(value, Mapping):
        content = value.get("bytes")
        if isinstance(content, bytes):
            yield ImageCell(str(value.get("path") or column), content)
        else:
            yield from _cells(value.get("path"), column, separator)
    else:
        yield None


class ImageReader:
    """Reads and checks image files below one folder."""

    def __init__(self, shape: ImagesShape, root: Path) -> None:
        self._shape, self._root = shape, root
        self._placeholders = frozenset(shape.placeholder_sha256)

    def read(self, cells: list[ImageCell | None], reject: RejectImage) -> list[tuple[ImageRef, bytes]]:
        """Read the usable images in order, without repeated contents.

        `reject` is called for every other image, and once when `cells` is empty.
        """
        if not cells:
            reject(ImageFault.ABSENT, "no image named", "give the product an image")
        kept: list[tuple[ImageRef, bytes]] = []
        seen_names: set[str] = set()
        seen_content: set[str] = set()
        for number, cell in enumerate(cells):
            if cell is None:
                reject(Reason.WRONG_TYPE, "neither a name nor bytes", "give a file name, a list of them, or bytes")
                continue
            if cell.content is None and cell.source in seen_names:
                continue  # variants repeat the image of their colour: one image, nothing to report
            seen_names.add(cell.source)
            if len(kept) == self._shape.max_images:
                fix = f"raise images.max_images ({self._shape.max_images}) to keep them"
                reject(Reason.IMAGE_TOO_MANY, f"{len(cells) - number} more, from {cell.source}", fix)
                break
            image = self._usable(cell, seen_content, reject)
            if image is not None:
                kept.append(image)
        return kept

    def _usable(self, cell: ImageCell, seen: set[str], reject: RejectImage) -> tuple[ImageRef, bytes] | None:
        content = cell.content if cell.content is not None else self._file(cell.source, reject)
        if content is None:
            return None
        sha256 = sha256_bytes(content)
        if sha256 in seen:
            reject(Reason.IMAGE_REPEATED, cell.source, "name each image once")
            return None
        seen.add(sha256)
        try:
            pixels = decode(content)
        except ImageError as error:
            reject(
                error.fault, f"{cell.source}: {error}", "replace the file by a whole JPEG, PNG or WebP of sensible size"
            )
            return None
        is_flat = self._shape.flat_is_placeholder and _is_flat(pixels)
        if sha256 in self._placeholders or is_flat:
            reject(
                ImageFault.PLACEHOLDER,
                f"{cell.source}: {'one single colour' if is_flat else sha256}",
                "give an image of the product",
            )
            return None
        height, width = pixels.shape[:2]
        return ImageRef(source=cell.source, sha256=sha256, width=width, height=height, phash=phash(pixels)), content

    def _file(self, name: str, reject: RejectImage) -> bytes | None:
        relative = os.path.normpath(name)
        if "://" in name or os.path.isabs(relative) or relative.split(os.sep)[0] == os.pardir:
            reject(
                Reason.IMAGE_OUTSIDE, name, f"put the file below {self._root} and give its path relative to that folder"
            )
            return None
        path = self._root / relative
        try:
            size = path.stat().st_size
            if size > self._shape.max_bytes:
                reject(ImageFault.TOO_LARGE, f"{name}: {size} bytes", f"save it below {self._shape.max_bytes} bytes")
                return None
            return path.read_bytes()
        except (OSError, ValueError) as error:
            reject(
                ImageFault.ABSENT, f"{name}: {type(error).__name__}", f"put the file below {excerpt(str(self._root))}"
            )
            return None


def phash(pixels: NDArray[np.uint8]) -> str:
    """64-bit perceptual hash of uint8 [height, width, 3], as 16 hex digits.

    The image is converted to grey and scaled to 32 x 32. Each bit says whether one of the 8 x 8 lowest DCT coefficients
    is above their median; the first bit is the constant term's.

    Source: Zauner, Implementation and benchmarking of perceptual image hash functions, 2010, section 3.2.1.
    """
    grey = Image.fromarray(pixels).convert("L").resize((_PHASH_PX, _PHASH_PX), Image.Resampling.LANCZOS)
    frequencies = dctn(np.asarray(grey, np.float64), type=2)[:_PHASH_SIDE, :_PHASH_SIDE]
    bits = np.packbits(frequencies > np.median(frequencies))
    return bits.tobytes().hex()


def _is_flat(pixels: NDArray[np.uint8]) -> bool:
    """Whether all pixels have one colour up to JPEG noise; a sample of the pixels decides most images quickly."""
    return all(int(np.ptp(sample, axis=(0, 1)).max()) <= _FLAT_RANGE for sample in (pixels[::8, ::8], pixels))
