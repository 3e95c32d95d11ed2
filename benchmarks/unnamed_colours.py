"""Does a search for a colour find products that show it only in their images? "red dress" on a generated market.

`python -m benchmarks.unnamed_colours --lake LAKE` searches the live release for every colour of every category, in
both languages. Half of the market's products do not name their colour in their text. On each page, these products are
counted if they have the colour of the query, and compared with the number expected by chance: the share of the colour
among such products of the category. The exit status is 1 if the 95 % interval of the difference, over queries,
includes 0.
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
    """Search, count and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.unnamed_colours",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--lake", required=True, type=Path, help="a generated market with a live release")
    parser.add_argument("--page", type=int, default=20, help="hits per page")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    try:
        unnamed = _products_with_unnamed_colour(Lake(options.lake))
        shown_Q, right_Q, chance_Q = _counts(Lake(options.lake), unnamed, options.page)
    except IntarsiaError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    shown, right, chance = int(shown_Q.sum()), int(right_Q.sum()), float(chance_Q.sum())
    gain = bootstrap_mean(right_Q - chance_Q, seed=0)
    print(f"{len(shown_Q)} queries in {len(LOCALES)} languages, pages of {options.page}")
    print(f"products that do not name their colour: {shown}; of the right colour: {right}, by chance {chance:.0f}")
    print(f"more per page: {gain.mean:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]")
    row: ResultRow = {
        "name": "generated market",
        "shown": shown,
        "right": right,
        "chance": chance,
        "gain": interval_cell(gain),
    }
    write_rows(options.json, [row])
    return 0 if gain.low > 0 else 1


def _products_with_unnamed_colour(lake: Lake) -> dict[str, tuple[str, str]]:
    """Product id -> category and true colour, of products with a good image whose text does not name the colour."""
    path = lake.current("market").path / "truth_products.jsonl"
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    unnamed = {
        row["product_id"]: (row["category"], row["colour"])
        for row in rows
        if row["images"] and not row["colour_in_text"] and not row["bad_image"]
    }
    if not unnamed:
        raise ConfigError(
            f"{path}: every product names its colour or has no image. Fix: generate a market with unnamed colours"
        )
    return unnamed


def _counts(lake: Lake, unnamed: dict[str, tuple[str, str]], page: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per query: products of its category with an unnamed colour on the page, those of its colour, and by chance."""
    engine = open_bundle(Pointer(lake.root / "releases").live_folder())
    ids = engine.columns.product_ids
    num_of_both = Counter(unnamed.values())
    num_of_category = Counter(category for category, _ in unnamed.values())
    counts = []
    for category, colour, locale in itertools.product(CATEGORIES, COLOURS, LOCALES):
        hits = engine.search([_query(category, colour, locale, page)])[0].hits
        shown = [truth for hit in hits if (truth := unnamed.get(ids[hit.row])) and truth[0] == category.key]
        share = num_of_both[category.key, colour.key] / max(1, num_of_category[category.key])
        counts.append((len(shown), shown.count((category.key, colour.key)), share * len(shown)))
    shown_Q, right_Q, chance_Q = np.array(counts, dtype=np.float64).T
    return shown_Q, right_Q, chance_Q


def _query(category: Category, colour: Value, locale: Language, page: int) -> Query:
    noun = (category.en if locale == "en" else category.zh)[0]
    words = f"{colour.words(locale)[0]} {noun}" if locale == "en" else f"{colour.words(locale)[0]}{noun}"
    return Query(request_id=RequestId(words), text=words, locale=locale, asked_at=datetime.now(UTC), limit=page)


if __name__ == "__main__":
    sys.exit(main())
