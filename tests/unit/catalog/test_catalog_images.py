from __future__ import annotations

from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from PIL import Image

from intarsia.catalog.images import ImageReader, image_cells, phash
from intarsia.catalog.mapping import ImagesShape
from intarsia.ids import sha256_bytes
from intarsia.image import ImageFault, decode
from tests.unit.catalog.shop_files import make_image, put_images


def _read(shape: ImagesShape, folder: Path, raw: dict[str, Any]) -> tuple[list[str], list[tuple[str, str]]]:
    """(sources kept, (reason, found) of those rejected)."""
    rejected: list[tuple[str, str]] = []
    cells = list(image_cells(raw, shape.columns, shape.separator))
    kept = ImageReader(shape, folder / shape.root).read(
        cells, lambda reason, found, fix: rejected.append((reason.value, found))
    )
    return [ref.source for ref, _ in kept], rejected


def test_names_lists_bytes_and_objects_with_bytes_are_images(tmp_path: Path) -> None:
    put_images(tmp_path / "p", {"a.png": make_image(1), "b.png": make_image(2)})
    raw = {
        "single": "a.png, b.png",
        "raw": make_image(3),
        "many": [{"bytes": make_image(4), "path": "x.png"}, {"path": "a.png"}],
    }
    shape = ImagesShape(columns=("single", "raw", "many"), separator=",", root="p")
    assert _read(shape, tmp_path, raw) == (["a.png", "b.png", "raw", "x.png"], [])


def test_a_repeated_content_is_kept_once_and_reported(tmp_path: Path) -> None:
    put_images(tmp_path, {"a.png": make_image(1), "copy.png": make_image(1)})
    kept, rejected = _read(ImagesShape(columns="i"), tmp_path, {"i": ["a.png", "copy.png"]})
    assert (kept, rejected) == (["a.png"], [("image_repeated", "copy.png")])


def test_images_beyond_the_limit_are_rejected_in_one_row(tmp_path: Path) -> None:
    put_images(tmp_path, {f"{n}.png": make_image(n) for n in range(4)})
    names = [f"{n}.png" for n in range(4)]
    kept, rejected = _read(ImagesShape(columns="i", max_images=2), tmp_path, {"i": names})
    assert (kept, rejected) == (["0.png", "1.png"], [("image_too_many", "2 more, from 2.png")])


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    put_images(tmp_path, {"a.png": make_image(1)})
    _, rejected = _read(ImagesShape(columns="i", max_bytes=10), tmp_path, {"i": "a.png"})
    assert rejected == [("image_too_large", f"a.png: {len(make_image(1))} bytes")]


def test_a_decompression_bomb_is_too_large(tmp_path: Path) -> None:
    Image.new("1", (8000, 8000)).save(tmp_path / "bomb.png")
    _, rejected = _read(ImagesShape(columns="i"), tmp_path, {"i": "bomb.png"})
    assert [reason for reason, _ in rejected] == [ImageFault.TOO_LARGE]


def test_known_and_flat_images_are_placeholders(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "flat.png")
    put_images(tmp_path, {"known.png": make_image(1)})
    known = sha256_bytes(make_image(1))
    kept, rejected = _read(
        ImagesShape(columns="i", placeholder_sha256=(known,)), tmp_path, {"i": ["known.png", "flat.png"]}
    )
    assert (kept, rejected) == (
        [],
        [("image_placeholder", f"known.png: {known}"), ("image_placeholder", "flat.png: one single colour")],
    )
    kept, _ = _read(ImagesShape(columns="i", flat_is_placeholder=False), tmp_path, {"i": ["flat.png"]})
    assert kept == ["flat.png"]


def test_an_image_with_one_different_pixel_is_not_a_placeholder(tmp_path: Path) -> None:
    pixels = np.full((64, 64, 3), 255, np.uint8)
    pixels[33, 35] = 0
    Image.fromarray(pixels).save(tmp_path / "dot.png")
    assert _read(ImagesShape(columns="i"), tmp_path, {"i": "dot.png"}) == (["dot.png"], [])


@pytest.mark.parametrize("seed", range(5))
def test_the_perceptual_hash_equals_that_of_imagehash(seed: int) -> None:
    pixels = decode(make_image(seed, px=50))
    assert phash(pixels) == str(imagehash.phash(Image.fromarray(pixels)))


def test_the_hash_is_near_for_another_format_and_far_for_another_image() -> None:
    png, jpeg, other = (
        int(phash(decode(make_image(seed, px=64, format=format))), 16)
        for seed, format in ((1, "PNG"), (1, "JPEG"), (2, "PNG"))
    )
    assert (png ^ jpeg).bit_count() <= 4
    assert (png ^ other).bit_count() > 20
