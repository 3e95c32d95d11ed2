"""Judged queries made from the catalog alone, for a shop that has none: each looks for one known product by some words of its title.

They say whether the line finds what is named, not whether people like the answer: a report on them says so, and judged queries replace
them. Words are drawn from the title and, with a share `noise`, from the whole catalog (the paper's mixture of item and background).

Source: Azzopardi, de Rijke and Balog, "Building simulated queries for known-item topics", SIGIR 2007. doi:10.1145/1277741.1277820
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from intarsia import text
from intarsia.config import setting
from intarsia.ids import ProductId, QueryId
from intarsia.records.judgment import JudgedQuery, Judgment, Split

_TOP_GRADE = 3.0
_PREFIX = "known-"


def is_synthetic(query_id: QueryId) -> bool:
    """Whether a query was made here, not asked by a person."""
    return query_id.startswith(_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownItemsConfig:
    """How many queries to make, and how long."""

    num_queries: int = setting("queries to make, each for another product; fewer when the catalog is smaller", 300)
    min_words: int = setting("fewest words of a query", 2)
    max_words: int = setting("most words of a query", 4)
    noise: float = setting(
        "share of words drawn from the whole catalog instead of the title: what people remember wrongly, or say in other words",
        0.0,
    )
    seed: int = setting("of every draw", 11)

    def __post_init__(self) -> None:
        if self.num_queries < 1:
            raise ValueError(f"num_queries is {self.num_queries}; allowed: 1 or more")
        if not 1 <= self.min_words <= self.max_words:
            raise ValueError(
                f"min_words is {self.min_words}, max_words {self.max_words}; allowed: 1 <= min_words <= max_words"
            )
        if not 0 <= self.noise < 1:
            raise ValueError(f"noise is {self.noise}; allowed: 0 or more, below 1")


def known_items(
    titles: Mapping[ProductId, str], config: KnownItemsConfig, *, splits: Sequence[Split]
) -> tuple[list[JudgedQuery], list[Judgment]]:
    """Queries of title words, drawn in proportion to how rare they are in the catalog, in the title's order.

    Args:
        titles: the catalog; products with the same folded title are all right answers.
        config: how many, how long.
        splits: dealt out in turn over the queries; (train, train, train, validation, test) gives 60 / 20 / 20.

    Returns:
        The queries, `known-00000` on, and their judgments, grade 3.
    """
    rng = np.random.default_rng(config.seed)
    words = {product_id: text.unstemmed_words(title) for product_id, title in sorted(titles.items())}
    twins: dict[str, list[ProductId]] = {}
    for product_id, title in sorted(titles.items()):
        twins.setdefault(text.fold(title), []).append(product_id)
    num_with = Counter(word for each in words.values() for word in set(each))
    catalog_words = [word for each in words.values() for word in each]
    able = [product_id for product_id, each in words.items() if len(set(each)) >= config.min_words]
    chosen = rng.permutation(len(able))[: config.num_queries]
    queries: list[JudgedQuery] = []
    judgments: list[Judgment] = []
    for number, at in enumerate(chosen):
        product_id = able[int(at)]
        asked = _with_noise(
            _draw_words(words[product_id], num_with, len(words), config, rng), catalog_words, config, rng
        )
        query_id = QueryId(f"{_PREFIX}{number:05d}")
        joined = "".join(asked) if all(text.has_han(word) for word in asked) else " ".join(asked)
        queries.append(
            JudgedQuery(
                query_id=query_id,
                text=joined,
                image=None,
                locale=text.detect_locale(joined),
                split=splits[number % len(splits)],
            )
        )
        judgments += [
            Judgment(query_id=query_id, product_id=twin, grade=_TOP_GRADE)
            for twin in twins[text.fold(titles[product_id])]
        ]
    return queries, judgments


def _draw_words(
    title: Sequence[str],
    num_with: Mapping[str, int],
    num_titles: int,
    config: KnownItemsConfig,
    rng: np.random.Generator,
) -> list[str]:
    distinct = list(dict.fromkeys(title))
    num_words = int(rng.integers(config.min_words, config.max_words + 1))
    rarity = np.array([math.log(1 + num_titles / num_with[word]) for word in distinct])
    places = rng.choice(len(distinct), size=min(num_words, len(distinct)), replace=False, p=rarity / rarity.sum())
    return [distinct[place] for place in sorted(places)]


def _with_noise(
    asked: Sequence[str], catalog_words: Sequence[str], config: KnownItemsConfig, rng: np.random.Generator
) -> list[str]:
    """Words may be others of the catalog, as likely as they are common there; one word, drawn, always leads to the product."""
    strangers = rng.integers(len(catalog_words), size=len(asked))
    replaced = rng.random(len(asked)) < config.noise
    replaced[int(rng.integers(len(asked)))] = False
    return [catalog_words[s] if r else word for word, s, r in zip(asked, strangers, replaced, strict=True)]
