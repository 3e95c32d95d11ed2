"""Writes a whole market into a folder: products and pictures, judged queries, shoppers' events, and the truth behind them.

Files, all UTF-8 with one row per line unless made otherwise on purpose:

- `products.jsonl`, `images/`: the shop's raw export (columns: `listing.RawRow`), dirty, with rotten rows in between;
- `queries.jsonl`, `judgments.tsv` (query_id, product_id, gain), `query_images/`: the judged set, every product with gain 1 or more listed;
- `events.jsonl`, `requests.jsonl`: what shoppers did, and what they had asked (request_id -> query_id, page shown);
- `truth_products.jsonl`, `truth.json`, `defects.jsonl`: the truth. No job may read these; tests and reports may.

Letters: N products.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from intarsia.config import plain
from intarsia.errors import ConfigError
from intarsia.simulator.config import MarketConfig
from intarsia.simulator.defects import ROTTEN_KINDS, bad_image, bad_image_name, rotten_line
from intarsia.simulator.draws import stream
from intarsia.simulator.events_file import event_lines
from intarsia.simulator.listing import raw_row
from intarsia.simulator.pictures import Look, Painter, to_jpeg
from intarsia.simulator.queries import GeneratedQuery, compose_queries, judged_products
from intarsia.simulator.shoppers import NUM_DAYS, START, Shop, Visit, utc
from intarsia.simulator.truth import BAD_IMAGE_KINDS, MarketTruth, draw_truth, product_id

Report = Callable[[str, int, int], None]
"""Is told (stage, done, total) as the work goes on."""

_PRODUCTS_PER_FOLDER = 1000  # of images/: tens of thousands of files in one folder are slow to list
_REPORT_EVERY = 200
_RETOUCHED_QUALITY = 74  # a near-duplicate's pictures are its source's, saved once more by somebody else
_SHARE_CLOSE_UP = 0.35  # of the second and third pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSummary:
    """What was written; `rotten` and `bad_images` count by kind."""

    products: int
    rotten: Mapping[str, int]
    images: int
    bad_images: Mapping[str, int]
    without_image: int
    near_duplicates: int
    queries: Mapping[str, int]
    judgments: int
    requests: int
    events: Mapping[str, int]
    bad_events: Mapping[str, int]


def write_market(config: MarketConfig, folder: Path, report: Report | None = None) -> MarketSummary:
    """Make the market of a config; equal configs give equal bytes.

    Args:
        config: what market.
        folder: an empty folder, or one that is not there yet.
        report: told of the progress.

    Raises:
        ConfigError: the folder holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; a market is written into an empty folder: remove it or give another")
    folder.mkdir(parents=True, exist_ok=True)
    return _MarketWriter(config, folder, report or _silent).write()


def product_pictures(config: MarketConfig, truth: MarketTruth, painter: Painter, i: int) -> Iterator[bytes]:
    """The sound JPEG files of product i, first view first; they depend on the config and i alone.

    A near-duplicate repeats its source's views, saved at a lower JPEG quality.
    """
    source = int(truth.duplicate_of[i]) if truth.duplicate_of[i] >= 0 else i
    shown = int(truth.picture_of[source])
    described = truth.described(shown)
    look = Look(
        category=described["category"], colour=described["colour"], pattern=described["pattern"], instance=shown
    )
    quality = {} if source == i else {"quality": _RETOUCHED_QUALITY}
    for view in range(int(truth.num_pictures[i])):
        rng = stream(config.seed, f"view {view}", source)
        if config.images == "noise":
            picture = painter.draw_noise(rng)
        else:
            picture = painter.draw(look, rng, close_up=view > 0 and bool(rng.random() < _SHARE_CLOSE_UP))
        yield to_jpeg(picture, **quality)


def _silent(stage: str, done: int, total: int) -> None:
    """Nobody asked for progress."""


class _MarketWriter:
    """One market on its way into a folder; defects are noted as they are made."""

    def __init__(self, config: MarketConfig, folder: Path, report: Report) -> None:
        self._config, self._folder, self._report = config, folder, report
        self._truth = draw_truth(config)
        self._painter = Painter(config.seed, config.image_px)
        self._shop = Shop(truth=self._truth, seed=config.seed)
        self._counts: dict[str, Counter[str]] = {
            name: Counter() for name in ("rotten", "bad_images", "queries", "events", "bad_events", "all")
        }

    def write(self) -> MarketSummary:
        with (self._folder / "defects.jsonl").open("wb") as defects:
            self._write_products(defects)
            self._write_queries()
            self._write_events(defects)
        self._write_truth()
        counts, everything = self._counts, self._counts["all"]
        return MarketSummary(
            products=self._truth.num_products,
            rotten=dict(counts["rotten"]),
            images=everything["images"],
            bad_images=dict(counts["bad_images"]),
            without_image=int(np.count_nonzero(self._truth.num_pictures == 0)),
            near_duplicates=int(np.count_nonzero(self._truth.duplicate_of >= 0)),
            queries=dict(counts["queries"]),
            judgments=everything["judgments"],
            requests=everything["requests"],
            events=dict(counts["events"]),
            bad_events=dict(counts["bad_events"]),
        )

    def _write_products(self, defects: BinaryIO) -> None:
        """Product by product, each followed by the rotten rows whose place is after it."""
        num = self._truth.num_products
        rotten_after = self._plan_rotten()
        line_number = num_rotten = 0
        with (
            (self._folder / "products.jsonl").open("wb") as products,
            (self._folder / "truth_products.jsonl").open("wb") as truths,
        ):
            for i in range(num):
                names = self._write_pictures(i, defects)
                row = raw_row(self._truth, i, self._config.seed, names)
                products.write(_json_line(row))
                truths.write(_json_line(self._truth_row(i, names)))
                line_number += 1
                for kind in rotten_after.get(i, ()):
                    line = rotten_line(kind, row, num_rotten)
                    products.write(line + b"\n")
                    line_number += 1
                    num_rotten += 1
                    self._counts["rotten"][kind] += 1
                    defects.write(
                        _json_line({"file": "products.jsonl", "line": line_number, "kind": kind, "key": row["sku"]})
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

    def _write_pictures(self, i: int, defects: BinaryIO) -> list[str]:
        """Draws and writes the pictures of product i; returns the paths that its row gives."""
        names: list[str] = []
        fault = int(self._truth.bad_image[i])
        for view, jpeg in enumerate(product_pictures(self._config, self._truth, self._painter, i)):
            name = f"images/{i // _PRODUCTS_PER_FOLDER:03d}/{product_id(i)}_{view + 1}.jpg"
            content: bytes | None = jpeg
            if view == 0 and fault >= 0:
                kind = BAD_IMAGE_KINDS[fault]
                name, content = bad_image_name(kind, name), bad_image(kind, jpeg, self._config.image_px)
                self._counts["bad_images"][kind] += 1
                defects.write(_json_line({"file": name, "line": None, "kind": kind, "key": product_id(i)}))
            names.append(name)
            if content is not None:
                self._write_file(name, content)
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
            "pictures_show": product_id(int(truth.picture_of[copied if copied >= 0 else i])),
            "duplicate_of": product_id(copied) if copied >= 0 else None,
            "popularity": round(float(truth.popularity[i]), 6),
            "appeal": round(float(truth.appeal[i]), 6),
        }

    def _write_queries(self) -> None:
        with (
            (self._folder / "queries.jsonl").open("wb") as queries,
            (self._folder / "judgments.tsv").open("wb") as judgments,
        ):
            judgments.write(b"query_id\tproduct_id\tgain\n")
            for number, (query, gain_N) in enumerate(compose_queries(self._config, self._truth)):
                queries.write(_json_line(self._query_row(query)))
                judged = judged_products(gain_N, self._config.seed, number)
                rows = (f"{query.query_id}\t{product_id(i)}\t{gain}\n" for i, gain in judged)
                judgments.write("".join(rows).encode())
                if query.split == "train":
                    self._shop.add(query, gain_N)
                self._counts["queries"][query.kind] += 1
                self._counts["all"]["judgments"] += len(judged)
                self._tick("queries", number + 1, self._config.num_queries)

    def _query_row(self, query: GeneratedQuery) -> dict[str, Any]:
        name: str | None = None
        if query.look is not None:
            name = f"query_images/{query.query_id}.jpg"
            rng = stream(self._config.seed, "query view", query.look.instance)
            self._write_file(name, to_jpeg(self._painter.draw(query.look, rng, from_shopper=True)))
        shown = {"colour": query.look.colour, "pattern": query.look.pattern} if query.look else None
        return {
            "query_id": query.query_id,
            "text": query.text,
            "image": name,
            "lang": query.locale,
            "kind": query.kind,
            "split": query.split,
            "truth": {"category": query.category, "asked": query.asked, "shown": shown, "traits": list(query.traits)},
        }

    def _write_events(self, defects: BinaryIO) -> None:
        with (
            (self._folder / "events.jsonl").open("wb") as events,
            (self._folder / "requests.jsonl").open("wb") as requests,
        ):
            visits = self._told_visits(requests)
            for line_number, (line, fault, event_id) in enumerate(event_lines(visits, self._config), start=1):
                events.write(line + b"\n")
                if fault is not None:
                    self._counts["bad_events"][fault] += 1
                    found = {"file": "events.jsonl", "line": line_number, "kind": fault, "key": event_id}
                    defects.write(_json_line(found))

    def _told_visits(self, requests: BinaryIO) -> Iterator[Visit]:
        """The visits, each noted in requests.jsonl as it passes."""
        for visit in self._shop.visits(self._config.num_sessions):
            page = [product_id(act.product) for act in visit.acts if act.kind == "impression"]
            row = {
                "request_id": visit.request_id,
                "session_id": visit.session_id,
                "user_id": visit.user_id,
                "query_id": visit.query.query_id,
                "asked_at": utc(visit.asked_ms),
                "page": page,
            }
            requests.write(_json_line(row))
            self._counts["events"].update(act.kind for act in visit.acts)
            self._counts["all"]["requests"] += 1
            self._tick("sessions", int(visit.session_id[1:]) + 1, self._config.num_sessions)
            yield visit

    def _write_truth(self) -> None:
        told = {
            "config": plain(self._config),
            "click_model": {
                "kind": "position-based",
                "equation": "P(click) = (1 / position) ** eta * attraction_by_gain[gain] * (1 + appeal_weight * (2 * appeal - 1))",
                **dataclasses.asdict(self._shop.model),
            },
            "logger": "orders by gain + fixed error + logger_popularity * (2 * appeal - 1) + an error per page",
            "popularity": "log-normal per product, independent of its attributes; appeal is its rank, 0 least to 1 most; no part of a gain",
            "gains": "3 category and all asked attributes; 2 category and at least half of them; 1 category, or all in a sibling; 0 else",
            "told_by_text_only": ["brand", "material", "style", "audience"],
            "told_by_pictures_only": ["pattern", "colour where colour_told is false"],
            "events_from": utc(0),
            "events_num_days": NUM_DAYS,
        }
        assert str(START)[:10] in told["events_from"]
        self._write_file("truth.json", json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n")

    def _write_file(self, name: str, content: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def _tick(self, stage: str, done: int, total: int) -> None:
        if done % _REPORT_EVERY == 0 or done == total:
            self._report(stage, done, total)


def _json_line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
