"""Whether a search for a colour finds the products whose pictures alone show it: "red dress" on a generated market.

`python -m benchmarks.unsaid_colours --lake LAKE` asks the live release for every colour of every kind of product, in both languages.
Half of the market's products name their colour nowhere. Of those on a page, counted are the ones that truly have the colour asked for,
beside the number that there would be if colour played no part: the colour's share among the unsaying products of that kind. The exit
status is 1 when the difference is within its 95 % interval over the questions.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.result_tables import ResultRow, add_json_option, interval_cell, write_rows
from intarsia.errors import ConfigError, IntarsiaError
from intarsia.evaluation.significance import bootstrap_mean
from intarsia.ids import RequestId
from intarsia.lake import Lake
from intarsia.records.query import Query
from intarsia.release.bundle import open_bundle
from intarsia.release.pointer import Pointer
from intarsia.simulator.assortment import CATEGORIES, Category
from intarsia.simulator.vocabulary import COLOURS, Language, Value

LOCALES: tuple[Language, ...] = ("en", "zh")


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, count, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.unsaid_colours",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--lake", required=True, type=Path, help="a generated market with a live release")
    parser.add_argument("--page", type=int, default=20, help="hits of a page that are looked at")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    try:
        unsaid = _unsaying(Lake(options.lake))
        shown_Q, true_Q, chance_Q = _counts(Lake(options.lake), unsaid, options.page)
    except IntarsiaError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    shown, true, chance = int(shown_Q.sum()), int(true_Q.sum()), float(chance_Q.sum())
    gain = bootstrap_mean(true_Q - chance_Q, seed=0)
    print(f"{len(shown_Q)} questions in {len(LOCALES)} languages, pages of {options.page}")
    print(f"products shown that name no colour: {shown}; of the colour asked for: {true}, by chance {chance:.0f}")
    print(f"more a page: {gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]")
    row: ResultRow = {
        "name": "generated market",
        "shown": shown,
        "right": true,
        "chance": chance,
        "gain": interval_cell(gain),
    }
    write_rows(options.json, [row])
    return 0 if gain.low > 0 else 1


def _unsaying(lake: Lake) -> dict[str, tuple[str, str]]:
    """Product id -> category and true colour, of the products with a good picture and no word of their colour."""
    path = lake.current("market").path / "truth_products.jsonl"
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    found = {
        row["product_id"]: (row["category"], row["colour"])
        for row in rows
        if row["images"] and not row["colour_in_text"] and not row["bad_image"]
    }
    if not found:
        raise ConfigError(f"{path}: every product names its colour or has no picture; nothing to look for")
    return found


def _counts(lake: Lake, unsaid: dict[str, tuple[str, str]], page: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per question: unsaying products of the kind asked for on its page, those of the colour, and their number by chance."""
    engine = open_bundle(Pointer(lake.root / "releases").live_folder())
    ids = engine.columns.product_ids
    of_both, of_kind = Counter(unsaid.values()), Counter(kind for kind, _ in unsaid.values())
    counts = []
    for category, colour, locale in itertools.product(CATEGORIES, COLOURS, LOCALES):
        hits = engine.search([_question(category, colour, locale, page)])[0].hits
        there = [seen for hit in hits if (seen := unsaid.get(ids[hit.row])) and seen[0] == category.key]
        share = of_both[category.key, colour.key] / max(1, of_kind[category.key])
        counts.append((len(there), there.count((category.key, colour.key)), share * len(there)))
    shown_Q, true_Q, chance_Q = np.array(counts, dtype=np.float64).T
    return shown_Q, true_Q, chance_Q


def _question(category: Category, colour: Value, locale: Language, page: int) -> Query:
    kind = (category.en if locale == "en" else category.zh)[0]
    words = f"{colour.words(locale)[0]} {kind}" if locale == "en" else f"{colour.words(locale)[0]}{kind}"
    return Query(request_id=RequestId(words), text=words, locale=locale, asked_at=datetime.now(UTC), limit=page)


if __name__ == "__main__":
    sys.exit(main())
