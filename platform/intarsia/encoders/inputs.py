"""Inputs of encoders: product fields to text, text to token ids, images to pixels; the same for catalog and queries,
torch and ONNX.

Letters: N items, T tokens, S side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from intarsia.image import decode
from intarsia.records.product import Product
from intarsia.text import clean, fold

TextField = Literal["title", "brand", "category", "attributes", "description"]


def product_text(product: Product, fields: Sequence[TextField]) -> str:
    """Join the chosen fields of a product, in the given order, by single spaces; empty fields are skipped.

    The category is its path from the top; attributes are their values, sorted by attribute name.
    """
    parts = {
        "title": product.title,
        "brand": product.brand,
        "category": " ".join(product.category_path),
        "attributes": " ".join(value for _, values in sorted(product.attributes.items()) for value in values),
        "description": product.description,
    }
    return " ".join(part for field in fields if (part := parts[field]))


Reading = Literal["clean", "folded"]


def read_text(text: str, reading: Reading, prefix: str = "") -> str:
    """Normalise a text for the tokenizer, after the prefix; used for catalog and query texts."""
    return prefix + (clean(text) if reading == "clean" else fold(text))


class TextTokenizer:
    """A tokenizer that truncates at `max_tokens` (special tokens included), after `read_text`."""

    def __init__(self, tokenizer: Tokenizer, *, max_tokens: int, reading: Reading, prefix: str) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._reading: Reading = reading
        self._prefix = prefix

    @classmethod
    def open(cls, path: Path, *, max_tokens: int, reading: Reading, prefix: str) -> TextTokenizer:
        """Open a `tokenizer.json`."""
        return cls(Tokenizer.from_file(str(path)), max_tokens=max_tokens, reading=reading, prefix=prefix)

    def save(self, path: Path) -> None:
        """Save as `tokenizer.json`."""
        self._tokenizer.save(str(path), pretty=False)

    def content(self) -> str:
        """The whole tokenizer as JSON: vocabulary, rules, truncation. It is part of the space id."""
        return str(self._tokenizer.to_str())

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without padding; an empty text has special tokens only."""
        normalised = [read_text(text, self._reading, self._prefix) for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch(normalised)]


def pad(ids: Sequence[Sequence[int]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pad token ids to the longest row.

    Returns:
        Ids int64 [N, T], and mask int64 [N, T] with 1 for tokens and 0 for padding.

    >>> ids_NT, mask_NT = pad([[5], [6, 7]], pad_id=0)
    >>> ids_NT.tolist(), mask_NT.tolist()
    ([[5, 0], [6, 7]], [[1, 0], [1, 1]])
    """
    width = max((len(row) for row in ids), default=0)
    ids_NT = np.full((len(ids), width), pad_id, np.int64)
    mask_NT = np.zeros((len(ids), width), np.int64)
    for n, row in enumerate(ids):
        ids_NT[n, : len(row)] = row
        mask_NT[n, : len(row)] = 1
    return ids_NT, mask_NT


_BACKGROUND = (255, 255, 255)  # the usual background of product images; `decode` puts it behind transparency


def read_pixels(images: Sequence[bytes], image_px: int) -> NDArray[np.uint8]:
    """Decode images to uint8 [N, S, S, 3]: each image whole, scaled to fit, centred on white.

    Cropping would cut off the ends of ties and trousers, stretching would change their shape. Scaling is bicubic with a
    filter widened for reduction (as Pillow does), so fine patterns are averaged instead of aliased.

    Raises:
        ImageError: an image cannot be decoded.
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
    square = Image.new("RGB", (image_px, image_px), _BACKGROUND)
    square.paste(scaled, ((image_px - size[0]) // 2, (image_px - size[1]) // 2))
    return np.asarray(square)
