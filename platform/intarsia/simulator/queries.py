"""Composes judged queries out of the truth: words, a fresh picture, or both, in English and Chinese as people type them.

What a query asks is part of its truth, so judging it is arithmetic (`truth.gains`). A text that stands alone is unique in the whole
set (beside a picture the pair is): no question of validation or test is seen in training, nor in the shoppers' log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from intarsia.simulator.assortment import CATEGORIES, CATEGORY_INDEX
from intarsia.simulator.attribute_words import ATTRIBUTES, COLOURS, EVERYONE, Locale
from intarsia.simulator.config import MarketConfig
from intarsia.simulator.images import Appearance
from intarsia.simulator.phrases import photo_remark, search_text
from intarsia.simulator.random_streams import pick, stream
from intarsia.simulator.truth import MarketTruth, gains

QueryKind = Literal["text", "image", "both"]
Split = Literal["train", "validation", "test"]
KIND_CYCLE: tuple[QueryKind, ...] = ("text", "image", "text", "both", "text")
SPLIT_CYCLE: tuple[Split, ...] = ("train", "validation", "train", "test", "train")

MAX_POSITIVE_SHARE = 0.1  # of the catalog; a query that more products answer tells little
_MIN_POSITIVES_ALLOWED = 20  # in catalogs so small that a tenth is less than that
_NUM_ATTEMPTS = 60
_NUM_EXPLICIT_ZEROS = 10
_ASK_SHARES = {"colour": 0.5, "material": 0.45, "audience": 0.4, "style": 0.3, "brand": 0.22, "pattern": 0.2}
_NUM_ASKED_SHARES = (0.35, 0.45, 0.2)  # one, two, three attributes
_SHARE_OVERRIDES_COLOUR = 0.4  # of the queries of both kinds; the others add an attribute that no picture shows


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedQuery:
    """One judged query with its truth.

    `asked` maps attributes to the keys that a product must have; `look` is what its picture shows (None without one), which
    for an overridden colour is not what is asked.
    """

    query_id: str
    kind: QueryKind
    locale: Locale
    split: Split
    text: str | None
    look: Appearance | None
    category: str
    asked: dict[str, str]
    traits: tuple[str, ...]
    """How the text was changed: typo, traditional."""


def compose_queries(config: MarketConfig, truth: MarketTruth) -> Iterator[tuple[GeneratedQuery, NDArray[np.int8]]]:
    """Every query with its gains int8 [N]; at least one product has gain 3, namely the one that the query was made from."""
    splits = _splits(config)
    seen: set[str] = set()
    for number in range(config.num_queries):
        rng = stream(config.seed, "query", number)
        kind = KIND_CYCLE[number % len(KIND_CYCLE)]
        yield _compose_one(truth, rng, number, kind, splits[number], seen)


def judged_products(gain_N: NDArray[np.int8], seed: int, number: int) -> list[tuple[int, int]]:
    """(product, gain) of every positive, best first, then a few explicit zeros; products in order of their number within a gain."""
    positive = np.flatnonzero(gain_N)
    ranked = positive[np.argsort(-gain_N[positive], kind="stable")]
    rest = np.flatnonzero(gain_N == 0)
    zeros = np.sort(stream(seed, "zeros", number).choice(rest, min(_NUM_EXPLICIT_ZEROS, len(rest)), replace=False))
    return [(int(i), int(gain_N[i])) for i in (*ranked, *zeros)]


def _splits(config: MarketConfig) -> list[Split]:
    """60/20/20 inside each kind, drawn by lot."""
    splits: list[Split] = ["train"] * config.num_queries
    for kind in dict.fromkeys(KIND_CYCLE):
        numbers = [n for n in range(config.num_queries) if KIND_CYCLE[n % len(KIND_CYCLE)] == kind]
        lots = stream(config.seed, f"split {kind}").permutation(len(numbers))
        for number, lot in zip(numbers, lots, strict=True):
            splits[number] = SPLIT_CYCLE[int(lot) % len(SPLIT_CYCLE)]
    return splits


def _compose_one(
    truth: MarketTruth, rng: np.random.Generator, number: int, kind: QueryKind, split: Split, seen: set[str]
) -> tuple[GeneratedQuery, NDArray[np.int8]]:
    """Draws until the text is new and not too much of the catalog answers; in a tiny market the narrowest of the new ones is kept."""
    allowed = max(MAX_POSITIVE_SHARE * truth.num_products, _MIN_POSITIVES_ALLOWED)
    best: tuple[GeneratedQuery, NDArray[np.int8]] | None = None
    for _ in range(_NUM_ATTEMPTS):
        query = _draw_query(truth, rng, number, kind, split)
        if _alone(query) in seen:
            continue
        gain_N = gains(truth, query.category, query.asked)
        if best is None or np.count_nonzero(gain_N) < np.count_nonzero(best[1]):
            best = query, gain_N
        if np.count_nonzero(gain_N) <= allowed:
            best = query, gain_N
            break
    if best is None:  # a market of few products asks the same again and again: number the request
        query = _draw_query(truth, rng, number, kind, split)
        query = replace(query, text=f"{query.text} {number}")
        best = query, gains(truth, query.category, query.asked)
    seen.add(_alone(best[0]))
    return best


def _alone(query: GeneratedQuery) -> str:
    """What no other query may repeat: the text that stands alone, else the query itself."""
    return query.text.lower() if query.kind == "text" and query.text else query.query_id


def _draw_query(
    truth: MarketTruth, rng: np.random.Generator, number: int, kind: QueryKind, split: Split
) -> GeneratedQuery:
    """A query that product `target`, drawn by lot, answers with gain 3; it speaks the target's language."""
    target = int(rng.integers(truth.num_products))
    described = truth.described(target)
    category = described.pop("category")
    locale: Locale = "zh" if truth.is_zh[target] else "en"
    text: str | None = None
    traits: tuple[str, ...] = ()
    look: Appearance | None = None
    if kind == "text":
        asked = _asked(described, rng)
        text, traits = search_text(CATEGORIES[CATEGORY_INDEX[category]], asked, locale, rng)
    else:
        asked = {name: described[name] for name in ("colour", "pattern")}
        shown = dict(asked)
        if kind == "both":
            said = _said_beside_image(described, rng)
            if "colour" in said:
                shown["colour"] = pick(rng, [c.key for c in COLOURS if c.key != described["colour"]])
            asked |= said
            text, traits = photo_remark(CATEGORIES[CATEGORY_INDEX[category]], said, locale, rng)
        # instances of products count from 0: a query shows a thing of its own
        look = Appearance(
            category=category, colour=shown["colour"], pattern=shown["pattern"], instance=1_000_000 + number
        )
    return GeneratedQuery(
        query_id=f"q{number:05d}",
        kind=kind,
        locale=locale,
        split=split,
        text=text,
        look=look,
        category=category,
        asked=asked,
        traits=traits,
    )


def _asked(described: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
    """One to three attributes of the target; nobody asks for `everyone`, and hardly anybody for plain."""
    shares = dict(_ASK_SHARES)
    if described["audience"] == EVERYONE:
        del shares["audience"]
    if described["pattern"] == "plain":
        shares["pattern"] *= 0.15
    names = list(shares)
    chance = np.array(list(shares.values()))
    num = 1 + int(rng.choice(len(_NUM_ASKED_SHARES), p=_NUM_ASKED_SHARES))
    chosen = set(rng.choice(len(names), num, replace=False, p=chance / chance.sum()).tolist())
    return {name: described[name] for name in ATTRIBUTES if name in names and names.index(name) in chosen}


def _said_beside_image(described: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
    if rng.random() < _SHARE_OVERRIDES_COLOUR:
        return {"colour": described["colour"]}
    options = [name for name in ("material", "style", "audience") if described[name] != EVERYONE]
    name = pick(rng, options)
    return {name: described[name]}
