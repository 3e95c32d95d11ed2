"""Raw files of small shops for the tests of reading, cleaning and the whole ingest."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from intarsia.catalog.mapping import CatalogMapping
from intarsia.config import build


def make_image(seed: int, *, px: int = 32, format: str = "PNG") -> bytes:
    """An image file of smooth colour patches that depend on the seed."""
    patches = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(patches).resize((px, px), Image.Resampling.BILINEAR).save(out, format)
    return out.getvalue()


def flat_image(*, px: int = 16) -> bytes:
    """An image file of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (px, px), (200, 200, 200)).save(out, "PNG")
    return out.getvalue()


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any] | str | bytes]) -> Path:
    """Rows as JSON lines; text and bytes are written as they are."""
    lines = [
        row
        if isinstance(row, bytes)
        else (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)).encode()
        for row in rows
    ]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def mapping(**values: Any) -> CatalogMapping:
    """A mapping with `id`, `title` and further settings."""
    return build(CatalogMapping, {"product_id": "id", "title": "title", **values})


def put_images(folder: Path, images: Mapping[str, bytes]) -> None:
    """Write image files below a folder."""
    for name, content in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def shop_rows(num: int) -> list[dict[str, Any]]:
    """Valid rows of a shop, each with its own image `<n>.png`, ids in no order."""
    return [
        {
            "id": f"P{(7 * n) % num:03d}",
            "title": f"{('Red', 'Blue', 'Green')[n % 3]} {('shirt', 'mug', 'lamp', 'boots')[n % 4]} model {n}",
            "text": f"<p>Number {n} of the shop, made of {('wool', 'clay')[n % 2]}.</p>",
            "brand": ("Nike", "NIKE", "Nike", "Adidas")[n % 4],
            "path": "Home > Things",
            "price": f"{n}.50",
            "pictures": [f"{n}.png"],
            "colour": ("red", "blue")[n % 2],
        }
        for n in range(num)
    ]


SHOP_MAPPING: Mapping[str, Any] = {
    "description": "text",
    "brand": "brand",
    "category": {"columns": "path", "separator": ">"},
    "price": {"column": "price", "currency": "USD"},
    "images": {"columns": "pictures"},
    "attributes": {"colour": "colour"},
}


def put_shop(folder: Path, num: int, *, more: Sequence[Mapping[str, Any] | str | bytes] = ()) -> Path:
    """Write products.jsonl of `num` valid rows and `more`, and the images, to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    put_images(folder, {f"{n}.png": make_image(n) for n in range(num)})
    return write_jsonl(folder / "products.jsonl", [*shop_rows(num), *more])
