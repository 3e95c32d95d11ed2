"""The pictures of a product: found, read, checked and fingerprinted, each refused one with its reason. A bad picture never loses a product.

Decoding is `intarsia.image`'s; which picture is a placeholder because many products share it is `settle`'s matter.
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

from intarsia.catalog.cell_parsers import is_blank, pick
from intarsia.catalog.mapping import Columns, ImagesShape, column_list
from intarsia.catalog.validate import Reason, shown
from intarsia.ids import sha256_bytes
from intarsia.image import ImageError, ImageFault, decode
from intarsia.records.product import ImageRef

Refuse = Callable[[Reason | ImageFault, str, str], None]
"""Takes (reason, found, fix): writes down that a picture is left out."""

_FLAT_RANGE = 2  # 8-bit steps between the darkest and the lightest pixel that JPEG noise alone can make
_PHASH_PX, _PHASH_SIDE = 32, 8


@dataclass(frozen=True, slots=True)
class ImageCell:
    """One picture that a row names: a file below the root, or the bytes themselves."""

    source: str
    content: bytes | None = None


def image_cells(raw: Mapping[str, Any], columns: Columns, separator: str) -> Iterator[ImageCell | None]:
    """What the picture columns of a row name, in order; None for a cell that is neither a name nor bytes."""
    for column in column_list(columns):
        yield from _cells(pick(raw, column), column, separator)


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
    """Reads and checks pictures below one folder."""

    def __init__(self, shape: ImagesShape, root: Path) -> None:
        self._shape, self._root = shape, root
        self._placeholders = frozenset(shape.placeholder_sha256)

    def read(self, cells: list[ImageCell | None], refuse: Refuse) -> list[tuple[ImageRef, bytes]]:
        """The usable pictures in their order, each content once; `refuse` is told of every other one, and of there being none named."""
        if not cells:
            refuse(ImageFault.ABSENT, "no picture named", "give the product a picture")
        kept: list[tuple[ImageRef, bytes]] = []
        seen_names: set[str] = set()
        seen_content: set[str] = set()
        for number, cell in enumerate(cells):
            if cell is None:
                refuse(Reason.WRONG_TYPE, "neither a name nor bytes", "give a file name, a list of them, or bytes")
                continue
            if cell.content is None and cell.source in seen_names:
                continue  # variants name the picture of their colour again and again: one picture, nothing lost
            seen_names.add(cell.source)
            if len(kept) == self._shape.max_images:
                fix = f"raise images.max_images ({self._shape.max_images}) if all are worth their embedding"
                refuse(Reason.IMAGE_TOO_MANY, f"{len(cells) - number} more, from {cell.source}", fix)
                break
            image = self._usable(cell, seen_content, refuse)
            if image is not None:
                kept.append(image)
        return kept

    def _usable(self, cell: ImageCell, seen: set[str], refuse: Refuse) -> tuple[ImageRef, bytes] | None:
        content = cell.content if cell.content is not None else self._file(cell.source, refuse)
        if content is None:
            return None
        sha256 = sha256_bytes(content)
        if sha256 in seen:
            refuse(Reason.IMAGE_REPEATED, cell.source, "name each picture once")
            return None
        seen.add(sha256)
        try:
            pixels = decode(content)
        except ImageError as error:
            refuse(
                error.fault, f"{cell.source}: {error}", "replace the file by a whole JPEG, PNG or WebP of sensible size"
            )
            return None
        is_flat = self._shape.flat_is_placeholder and _is_flat(pixels)
        if sha256 in self._placeholders or is_flat:
            refuse(
                ImageFault.PLACEHOLDER,
                f"{cell.source}: {'one single colour' if is_flat else sha256}",
                "take a real picture",
            )
            return None
        height, width = pixels.shape[:2]
        return ImageRef(source=cell.source, sha256=sha256, width=width, height=height, phash=phash(pixels)), content

    def _file(self, name: str, refuse: Refuse) -> bytes | None:
        below = os.path.normpath(name)
        if "://" in name or os.path.isabs(below) or below.split(os.sep)[0] == os.pardir:
            refuse(Reason.IMAGE_OUTSIDE, name, f"put the file below {self._root} and name it relative to that")
            return None
        path = self._root / below
        try:
            size = path.stat().st_size
            if size > self._shape.max_bytes:
                refuse(ImageFault.TOO_LARGE, f"{name}: {size} bytes", f"save it below {self._shape.max_bytes} bytes")
                return None
            return path.read_bytes()
        except (OSError, ValueError) as error:
            refuse(ImageFault.ABSENT, f"{name}: {type(error).__name__}", f"put the file below {shown(str(self._root))}")
            return None


def phash(pixels: NDArray[np.uint8]) -> str:
    """The 64-bit perceptual hash of uint8 [height, width, 3] as 16 hex digits: the 8 x 8 lowest frequencies of the grey picture shrunk to
    32 x 32, each against their median; the first bit is the constant's.

    Source: Zauner, Implementation and benchmarking of perceptual image hash functions, 2010, section 3.2.1.
    """
    grey = Image.fromarray(pixels).convert("L").resize((_PHASH_PX, _PHASH_PX), Image.Resampling.LANCZOS)
    frequencies = dctn(np.asarray(grey, np.float64), type=2)[:_PHASH_SIDE, :_PHASH_SIDE]
    bits = np.packbits(frequencies > np.median(frequencies))
    return bits.tobytes().hex()


def _is_flat(pixels: NDArray[np.uint8]) -> bool:
    """Whether all pixels have one colour, give or take the noise of JPEG; a few pixels settle it for most pictures."""
    return all(int(np.ptp(some, axis=(0, 1)).max()) <= _FLAT_RANGE for some in (pixels[::8, ::8], pixels))
