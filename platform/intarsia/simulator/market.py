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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from intarsia.config import to_jsonable
from intarsia.errors import ConfigError
from intarsia.simulator.catalog_files import CatalogWriter, Report, json_line, write_file
from intarsia.simulator.config import MarketConfig
from intarsia.simulator.events_file import event_lines
from intarsia.simulator.images import Painter, to_jpeg
from intarsia.simulator.queries import GeneratedQuery, compose_queries, judged_products
from intarsia.simulator.random_streams import stream
from intarsia.simulator.shoppers import NUM_DAYS, Shop, Visit, utc
from intarsia.simulator.truth import draw_truth, product_id

_REPORT_EVERY = 200


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
            CatalogWriter(self._config, self._folder, self._truth, self._painter, self._counts, self._tick).write(
                defects
            )
            self._write_queries()
            self._write_events(defects)
        self._write_truth()
        counts, everything = self._counts, self._counts["all"]
        return MarketSummary(
            products=self._truth.num_products,
            rotten=dict(counts["rotten"]),
            images=everything["images"],
            bad_images=dict(counts["bad_images"]),
            without_image=int(np.count_nonzero(self._truth.num_images == 0)),
            near_duplicates=int(np.count_nonzero(self._truth.duplicate_of >= 0)),
            queries=dict(counts["queries"]),
            judgments=everything["judgments"],
            requests=everything["requests"],
            events=dict(counts["events"]),
            bad_events=dict(counts["bad_events"]),
        )

    def _write_queries(self) -> None:
        with (
            (self._folder / "queries.jsonl").open("wb") as queries,
            (self._folder / "judgments.tsv").open("wb") as judgments,
        ):
            judgments.write(b"query_id\tproduct_id\tgain\n")
            for number, (query, gain_N) in enumerate(compose_queries(self._config, self._truth)):
                queries.write(json_line(self._query_row(query)))
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
            write_file(self._folder / name, to_jpeg(self._painter.draw(query.look, rng, from_shopper=True)))
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
                    defects.write(json_line(found))

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
            requests.write(json_line(row))
            self._counts["events"].update(act.kind for act in visit.acts)
            self._counts["all"]["requests"] += 1
            self._tick("sessions", int(visit.session_id[1:]) + 1, self._config.num_sessions)
            yield visit

    def _write_truth(self) -> None:
        told = {
            "config": to_jsonable(self._config),
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
        write_file(self._folder / "truth.json", json.dumps(told, indent=2, ensure_ascii=False).encode() + b"\n")

    def _tick(self, stage: str, done: int, total: int) -> None:
        if done % _REPORT_EVERY == 0 or done == total:
            self._report(stage, done, total)
