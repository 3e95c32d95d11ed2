"""Write a whole market into a folder: products and images, judged queries, an event log, and the truth behind them.

Files, UTF-8 with one row per line, except for deliberate defects:

- `products.jsonl`, `images/`: raw export of the shop (columns: `listing.ExportRow`), with bad rows in between;
- `queries.jsonl`, `judgments.tsv` (query_id, product_id, gain), `query_images/`: the judged set, which lists every
  product with gain 1 or more;
- `events.jsonl`, `requests.jsonl` (request_id -> query_id and page): the event log;
- `truth_products.jsonl`, `truth.json`, `defects.jsonl`: the truth, for tests and reports. No job may read these.

Letters: N products.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from intarsia.config import to_jsonable
from intarsia.errors import ConfigError
from intarsia.simulator.catalog_files import CatalogWriter, MarketProgress, json_line, write_file
from intarsia.simulator.config import MarketConfig
from intarsia.simulator.defects import BAD_EVENT_KINDS, bad_event_line
from intarsia.simulator.drawing import ImageRenderer, to_jpeg
from intarsia.simulator.queries import GeneratedQuery, compose_queries, judged_products
from intarsia.simulator.random_streams import stream
from intarsia.simulator.shoppers import NUM_DAYS, LogSimulator, Visit, utc
from intarsia.simulator.truth import draw_truth, product_id

_PROGRESS_EVERY = 200
_RELEASE_ID = "generated"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSummary:
    """Counts of what was written; mappings count by kind."""

    products: int
    bad_rows: Mapping[str, int]
    images: int
    bad_images: Mapping[str, int]
    without_image: int
    near_duplicates: int
    queries: Mapping[str, int]
    judgments: int
    requests: int
    events: Mapping[str, int]
    bad_events: Mapping[str, int]


def write_market(config: MarketConfig, folder: Path, report: MarketProgress | None = None) -> MarketSummary:
    """Generate a market; equal configs give equal bytes.

    Args:
        config: settings of the market.
        folder: an empty folder, or one that does not exist.
        report: called with (stage, done, total).

    Raises:
        ConfigError: the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; allowed: an empty folder. Fix: remove it or give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return _MarketWriter(config, folder, report or _ignore_progress).write()


def _ignore_progress(stage: str, done: int, total: int) -> None:
    pass


class _MarketWriter:
    """Writes one market; counts and defects are recorded as they are made."""

    def __init__(self, config: MarketConfig, folder: Path, report: MarketProgress) -> None:
        self._config, self._folder, self._report = config, folder, report
        self._truth = draw_truth(config)
        self._renderer = ImageRenderer(config.seed, config.image_px)
        self._log_simulator = LogSimulator(truth=self._truth, seed=config.seed)
        self._counts: dict[str, Counter[str]] = {
            name: Counter() for name in ("bad_rows", "bad_images", "queries", "events", "bad_events", "all")
        }

    def write(self) -> MarketSummary:
        with (self._folder / "defects.jsonl").open("wb") as defects:
            catalog = CatalogWriter(
                self._config, self._folder, self._truth, self._renderer, self._counts, self._report_progress
            )
            catalog.write(defects)
            self._write_queries()
            self._write_events(defects)
        self._write_truth()
        counts, totals = self._counts, self._counts["all"]
        return MarketSummary(
            products=self._truth.num_products,
            bad_rows=dict(counts["bad_rows"]),
            images=totals["images"],
            bad_images=dict(counts["bad_images"]),
            without_image=int(np.count_nonzero(self._truth.num_images == 0)),
            near_duplicates=int(np.count_nonzero(self._truth.duplicate_of >= 0)),
            queries=dict(counts["queries"]),
            judgments=totals["judgments"],
            requests=totals["requests"],
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
                    self._log_simulator.add(query, gain_N)
                self._counts["queries"][query.kind] += 1
                self._counts["all"]["judgments"] += len(judged)
                self._report_progress("queries", number + 1, self._config.num_queries)

    def _query_row(self, query: GeneratedQuery) -> dict[str, Any]:
        name: str | None = None
        appearance = query.appearance
        if appearance is not None:
            name = f"query_images/{query.query_id}.jpg"
            rng = stream(self._config.seed, "query view", appearance.instance)
            write_file(self._folder / name, to_jpeg(self._renderer.draw(appearance, rng, from_shopper=True)))
        shown = {"colour": appearance.colour, "pattern": appearance.pattern} if appearance else None
        return {
            "query_id": query.query_id,
            "text": query.text,
            "image": name,
            "lang": query.locale,
            "kind": query.kind,
            "split": query.split,
            "truth": {
                "category": query.category,
                "asked": query.required,
                "shown": shown,
                "traits": list(query.traits),
            },
        }

    def _write_events(self, defects: BinaryIO) -> None:
        with (
            (self._folder / "events.jsonl").open("wb") as events,
            (self._folder / "requests.jsonl").open("wb") as requests,
        ):
            visits = self._visits(requests)
            for line_number, (line, defect, event_id) in enumerate(_event_lines(visits, self._config), start=1):
                events.write(line + b"\n")
                if defect is not None:
                    self._counts["bad_events"][defect] += 1
                    row = {"file": "events.jsonl", "line": line_number, "kind": defect, "key": event_id}
                    defects.write(json_line(row))

    def _visits(self, requests: BinaryIO) -> Iterator[Visit]:
        """Yield the visits, and write the request of each to requests.jsonl."""
        for visit in self._log_simulator.visits(self._config.num_sessions):
            page = [product_id(event.product) for event in visit.events if event.kind == "impression"]
            row = {
                "request_id": visit.request_id,
                "session_id": visit.session_id,
                "user_id": visit.user_id,
                "query_id": visit.query.query_id,
                "asked_at": utc(visit.request_ms),
                "page": page,
            }
            requests.write(json_line(row))
            self._counts["events"].update(event.kind for event in visit.events)
            self._counts["all"]["requests"] += 1
            self._report_progress("sessions", int(visit.session_id[1:]) + 1, self._config.num_sessions)
            yield visit

    def _write_truth(self) -> None:
        truth = {
            "config": to_jsonable(self._config),
            "click_model": {
                "kind": "position-based",
                "equation": "P(click) = (1 / position) ** eta * attraction_by_gain[gain] "
                "* (1 + appeal_weight * (2 * appeal - 1))",
                **dataclasses.asdict(self._log_simulator.model),
            },
            "logging_policy": "orders by gain + fixed error + logger_popularity * (2 * appeal - 1) + an error per page",
            "popularity": "log-normal per product, independent of its attributes and of gains; "
            "appeal is its rank, 0 least to 1 most",
            "gains": "3: category and all attributes; 2: category and at least half of the attributes; "
            "1: category, or all attributes in a sibling category; 0: otherwise",
            "in_text_only": ["brand", "material", "style", "audience"],
            "in_images_only": ["pattern", "colour where colour_in_text is false"],
            "events_from": utc(0),
            "events_num_days": NUM_DAYS,
        }
        write_file(self._folder / "truth.json", json.dumps(truth, indent=2, ensure_ascii=False).encode() + b"\n")

    def _report_progress(self, stage: str, done: int, total: int) -> None:
        if done % _PROGRESS_EVERY == 0 or done == total:
            self._report(stage, done, total)


def _event_lines(visits: Iterable[Visit], config: MarketConfig) -> Iterator[tuple[bytes, str | None, str]]:
    """Yield (line without its end, defect or None, event_id); defects: `BAD_EVENT_KINDS` and "duplicate_event"."""
    num_events = num_bad = 0
    for number, visit in enumerate(visits):
        rng = stream(config.seed, "event faults", number)
        repeated: list[tuple[bytes, str]] = []
        for event in visit.events:
            row: dict[str, Any] = {
                "event_id": f"e{num_events:08d}",
                "request_id": visit.request_id,
                "release_id": _RELEASE_ID,
                "session_id": visit.session_id,
                "user_id": visit.user_id,
                "kind": event.kind,
                "product_id": product_id(event.product),
                "position": event.position,
                "value": event.value,
                "dwell_ms": event.dwell_ms,
                "occurred_at": utc(event.occurred_ms),
                "received_at": utc(event.received_ms),
            }
            num_events += 1
            line = json.dumps(row).encode()
            yield line, None, row["event_id"]
            chance = rng.random()
            if chance < config.share_repeated_events:
                repeated.append((line, row["event_id"]))
            elif chance < config.share_repeated_events + config.share_bad_events:
                kind = list(BAD_EVENT_KINDS)[num_bad % len(BAD_EVENT_KINDS)]
                num_bad += 1
                event_id = f"x{num_bad:08d}"
                yield bad_event_line(kind, {**row, "event_id": event_id}), kind, event_id
        for line, event_id in repeated:
            yield line, "duplicate_event", event_id
