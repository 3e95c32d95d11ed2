"""Write the products of a market: raw rows with bad rows in between, images, and the truth of every product."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from intarsia.simulator.config import MarketConfig
from intarsia.simulator.defects import BAD_ROW_KINDS, bad_image, bad_image_name, bad_line
from intarsia.simulator.drawing import Appearance, ImageRenderer, to_jpeg
from intarsia.simulator.listing import export_row
from intarsia.simulator.random_streams import stream
from intarsia.simulator.truth import BAD_IMAGE_KINDS, MarketTruth, product_id

MarketProgress = Callable[[str, int, int], None]
"""Called with (stage, done, total)."""

_PRODUCTS_PER_FOLDER = 1000  # of images/: a folder with tens of thousands of files is slow to list
_DUPLICATE_QUALITY = 74  # JPEG quality of the images of a near-duplicate: those of its source, saved again
_SHARE_CLOSE_UP = 0.35  # of the second and third images


def product_images(config: MarketConfig, truth: MarketTruth, renderer: ImageRenderer, i: int) -> Iterator[bytes]:
    """Yield the valid JPEG files of product i, first view first; they depend on the config and i alone.

    A near-duplicate has the views of its source in a lower JPEG quality.
    """
    source = int(truth.duplicate_of[i]) if truth.duplicate_of[i] >= 0 else i
    shown = int(truth.image_of[source])
    keys = truth.attribute_keys(shown)
    appearance = Appearance(category=keys["category"], colour=keys["colour"], pattern=keys["pattern"], instance=shown)
    quality = {} if source == i else {"quality": _DUPLICATE_QUALITY}
    for view in range(int(truth.num_images[i])):
        rng = stream(config.seed, f"view {view}", source)
        if config.images == "noise":
            image = renderer.draw_noise(rng)
        else:
            image = renderer.draw(appearance, rng, close_up=view > 0 and bool(rng.random() < _SHARE_CLOSE_UP))
        yield to_jpeg(image, **quality)


class CatalogWriter:
    """Writes the products of one market into a folder."""

    def __init__(
        self,
        config: MarketConfig,
        folder: Path,
        truth: MarketTruth,
        renderer: ImageRenderer,
        counts: Mapping[str, Counter[str]],
        report: MarketProgress,
    ) -> None:
        """Prepare writing.

        Args:
            config: settings of the market.
            folder: an existing folder.
            truth: truth of the market.
            renderer: draws the images.
            counts: `bad_rows`, `bad_images` and `all` are incremented.
            report: called with (stage, done, total).
        """
        self._config, self._folder, self._truth, self._renderer = config, folder, truth, renderer
        self._counts, self._report = counts, report

    def write(self, defects: BinaryIO) -> None:
        """Write all products, each followed by its bad rows; the lines of `defects` list the bad rows and images."""
        num = self._truth.num_products
        bad_after = self._plan_bad_rows()
        line_number = num_bad_rows = 0
        with (
            (self._folder / "products.jsonl").open("wb") as products,
            (self._folder / "truth_products.jsonl").open("wb") as truths,
        ):
            for i in range(num):
                names = self._write_images(i, defects)
                row = export_row(self._truth, i, self._config.seed, names)
                products.write(json_line(row))
                truths.write(json_line(self._truth_row(i, names)))
                line_number += 1
                for kind in bad_after.get(i, ()):
                    line = bad_line(kind, row, num_bad_rows)
                    products.write(line + b"\n")
                    line_number += 1
                    num_bad_rows += 1
                    self._counts["bad_rows"][kind] += 1
                    defects.write(
                        json_line({"file": "products.jsonl", "line": line_number, "kind": kind, "key": row["sku"]})
                    )
                self._report("products", i + 1, num)

    def _plan_bad_rows(self) -> dict[int, list[str]]:
        """Product number -> kinds of the bad rows that follow it; all kinds are used in turn."""
        num, share = self._truth.num_products, self._config.share_bad_rows
        numbers = stream(self._config.seed, "rotten").integers(num, size=round(num * share / (1 - share)))
        kinds = list(BAD_ROW_KINDS)
        plan: dict[int, list[str]] = {}
        for k, number in enumerate(np.sort(numbers).tolist()):
            plan.setdefault(number, []).append(kinds[k % len(kinds)])
        return plan

    def _write_images(self, i: int, defects: BinaryIO) -> list[str]:
        """Draw and write the images of product i; returns their paths in its row."""
        names: list[str] = []
        defect = int(self._truth.bad_image[i])
        for view, jpeg in enumerate(product_images(self._config, self._truth, self._renderer, i)):
            name = f"images/{i // _PRODUCTS_PER_FOLDER:03d}/{product_id(i)}_{view + 1}.jpg"
            content: bytes | None = jpeg
            if view == 0 and defect >= 0:
                kind = BAD_IMAGE_KINDS[defect]
                name, content = bad_image_name(kind, name), bad_image(kind, jpeg, self._config.image_px)
                self._counts["bad_images"][kind] += 1
                defects.write(json_line({"file": name, "line": None, "kind": kind, "key": product_id(i)}))
            names.append(name)
            if content is not None:
                write_file(self._folder / name, content)
                self._counts["all"]["images"] += 1
        return names

    def _truth_row(self, i: int, names: list[str]) -> dict[str, Any]:
        truth, source = self._truth, int(self._truth.duplicate_of[i])
        return {
            "product_id": product_id(i),
            **truth.attribute_keys(i),
            "lang": "zh" if truth.is_zh[i] else "en",
            "colour_in_text": bool(truth.colour_in_text[i]),
            "images": names,
            "bad_image": BAD_IMAGE_KINDS[int(truth.bad_image[i])] if truth.bad_image[i] >= 0 else None,
            "images_show": product_id(int(truth.image_of[source if source >= 0 else i])),
            "duplicate_of": product_id(source) if source >= 0 else None,
            "popularity": round(float(truth.popularity[i]), 6),
            "appeal": round(float(truth.appeal[i]), 6),
        }


def write_file(path: Path, content: bytes) -> None:
    """Write a file, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def json_line(row: Mapping[str, Any]) -> bytes:
    """Encode a row as one line of a JSONL file, without escaping characters."""
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
