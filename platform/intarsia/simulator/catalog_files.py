"""Writes a market's products: the raw rows with the rotten ones in between, the pictures, and the truth of every product."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from intarsia.simulator.config import MarketConfig
from intarsia.simulator.defects import ROTTEN_KINDS, bad_image, bad_image_name, rotten_line
from intarsia.simulator.images import Appearance, Painter, to_jpeg
from intarsia.simulator.listing import raw_row
from intarsia.simulator.random_streams import stream
from intarsia.simulator.truth import BAD_IMAGE_KINDS, MarketTruth, product_id

Report = Callable[[str, int, int], None]
"""Is told (stage, done, total) as the work goes on."""

_PRODUCTS_PER_FOLDER = 1000  # of images/: tens of thousands of files in one folder are slow to list
_RETOUCHED_QUALITY = 74  # a near-duplicate's pictures are its source's, saved once more by somebody else
_SHARE_CLOSE_UP = 0.35  # of the second and third pictures


def product_images(config: MarketConfig, truth: MarketTruth, painter: Painter, i: int) -> Iterator[bytes]:
    """The sound JPEG files of product i, first view first; they depend on the config and i alone.

    A near-duplicate repeats its source's views, saved at a lower JPEG quality.
    """
    source = int(truth.duplicate_of[i]) if truth.duplicate_of[i] >= 0 else i
    shown = int(truth.image_of[source])
    described = truth.described(shown)
    look = Appearance(
        category=described["category"], colour=described["colour"], pattern=described["pattern"], instance=shown
    )
    quality = {} if source == i else {"quality": _RETOUCHED_QUALITY}
    for view in range(int(truth.num_images[i])):
        rng = stream(config.seed, f"view {view}", source)
        if config.images == "noise":
            image = painter.draw_noise(rng)
        else:
            image = painter.draw(look, rng, close_up=view > 0 and bool(rng.random() < _SHARE_CLOSE_UP))
        yield to_jpeg(image, **quality)


class CatalogWriter:
    """One catalog on its way into a folder.

    Args:
        counts: `rotten`, `bad_images` and `all` are filled as things are written.
        report: told (stage, done, total).
    """

    def __init__(
        self,
        config: MarketConfig,
        folder: Path,
        truth: MarketTruth,
        painter: Painter,
        counts: Mapping[str, Counter[str]],
        report: Report,
    ) -> None:
        self._config, self._folder, self._truth, self._painter = config, folder, truth, painter
        self._counts, self._tick = counts, report

    def write(self, defects: BinaryIO) -> None:
        """Product by product, each followed by the rotten rows whose place is after it."""
        num = self._truth.num_products
        rotten_after = self._plan_rotten()
        line_number = num_rotten = 0
        with (
            (self._folder / "products.jsonl").open("wb") as products,
            (self._folder / "truth_products.jsonl").open("wb") as truths,
        ):
            for i in range(num):
                names = self._write_images(i, defects)
                row = raw_row(self._truth, i, self._config.seed, names)
                products.write(json_line(row))
                truths.write(json_line(self._truth_row(i, names)))
                line_number += 1
                for kind in rotten_after.get(i, ()):
                    line = rotten_line(kind, row, num_rotten)
                    products.write(line + b"\n")
                    line_number += 1
                    num_rotten += 1
                    self._counts["rotten"][kind] += 1
                    defects.write(
                        json_line({"file": "products.jsonl", "line": line_number, "kind": kind, "key": row["sku"]})
                    )
                self._tick("products", i + 1, num)

    def _plan_rotten(self) -> dict[int, list[str]]:
        """After which product which rotten rows stand; their kinds take turns, so that none is missing where there is room."""
        num, share = self._truth.num_products, self._config.share_rotten
        places = stream(self._config.seed, "rotten").integers(num, size=round(num * share / (1 - share)))
        kinds = list(ROTTEN_KINDS)
        plan: dict[int, list[str]] = {}
        for number, place in enumerate(np.sort(places).tolist()):
            plan.setdefault(place, []).append(kinds[number % len(kinds)])
        return plan

    def _write_images(self, i: int, defects: BinaryIO) -> list[str]:
        """Draws and writes the pictures of product i; returns the paths that its row gives."""
        names: list[str] = []
        fault = int(self._truth.bad_image[i])
        for view, jpeg in enumerate(product_images(self._config, self._truth, self._painter, i)):
            name = f"images/{i // _PRODUCTS_PER_FOLDER:03d}/{product_id(i)}_{view + 1}.jpg"
            content: bytes | None = jpeg
            if view == 0 and fault >= 0:
                kind = BAD_IMAGE_KINDS[fault]
                name, content = bad_image_name(kind, name), bad_image(kind, jpeg, self._config.image_px)
                self._counts["bad_images"][kind] += 1
                defects.write(json_line({"file": name, "line": None, "kind": kind, "key": product_id(i)}))
            names.append(name)
            if content is not None:
                write_file(self._folder / name, content)
                self._counts["all"]["images"] += 1
        return names

    def _truth_row(self, i: int, names: list[str]) -> dict[str, Any]:
        truth, copied = self._truth, int(self._truth.duplicate_of[i])
        return {
            "product_id": product_id(i),
            **truth.described(i),
            "lang": "zh" if truth.is_zh[i] else "en",
            "colour_told": bool(truth.colour_told[i]),
            "pictures": names,
            "bad_image": BAD_IMAGE_KINDS[int(truth.bad_image[i])] if truth.bad_image[i] >= 0 else None,
            "pictures_show": product_id(int(truth.image_of[copied if copied >= 0 else i])),
            "duplicate_of": product_id(copied) if copied >= 0 else None,
            "popularity": round(float(truth.popularity[i]), 6),
            "appeal": round(float(truth.appeal[i]), 6),
        }


def write_file(path: Path, content: bytes) -> None:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as one line of a JSONL file; characters stay as they are."""
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
