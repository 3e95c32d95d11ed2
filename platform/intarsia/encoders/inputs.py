"""Which of a product's words the text encoder reads.

Text to token ids through one fast tokenizer file, the same for catalog and queries, for torch and ONNX.

Letters: N texts, T tokens.


Picture bytes to the square of pixels that image encoders read: one way for catalog pictures and query pictures.

Letters: N pictures, S side.
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
    """The chosen fields in the given order, joined by single spaces; empty ones leave no trace.

    The category is its path from the top; attributes are their values, by name of attribute.
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
    """A text as every tokenizer gets it; catalog and query texts pass through here."""
    return prefix + (clean(text) if reading == "clean" else fold(text))


class TextTokenizer:
    """A tokenizer that cuts at `max_tokens` (the model's own marks included) and reads texts as `read_text` says."""

    def __init__(self, tokenizer: Tokenizer, *, max_tokens: int, reading: Reading, prefix: str) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._reading: Reading = reading
        self._prefix = prefix

    @classmethod
    def open(cls, path: Path, *, max_tokens: int, reading: Reading, prefix: str) -> TextTokenizer:
        """From a `tokenizer.json`."""
        return cls(Tokenizer.from_file(str(path)), max_tokens=max_tokens, reading=reading, prefix=prefix)

    def save(self, path: Path) -> None:
        """As a `tokenizer.json`."""
        self._tokenizer.save(str(path), pretty=False)

    def content(self) -> str:
        """The whole tokenizer as JSON: vocabulary, rules, truncation; part of the space's name."""
        return str(self._tokenizer.to_str())

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, unpadded; an empty text has the model's marks alone."""
        read = [read_text(text, self._reading, self._prefix) for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch(read)]


def pad(ids: Sequence[Sequence[int]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids int64 [N, T] filled to the longest, and mask int64 [N, T] with 1 where a token is."""
    width = max((len(row) for row in ids), default=0)
    ids_NT = np.full((len(ids), width), pad_id, np.int64)
    mask_NT = np.zeros((len(ids), width), np.int64)
    for n, row in enumerate(ids):
        ids_NT[n, : len(row)] = row
        mask_NT[n, : len(row)] = 1
    return ids_NT, mask_NT


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
