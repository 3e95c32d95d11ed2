"""Synthetic known-item queries from the catalog, for a shop without judged queries.

Each query searches for one product by words of its title. Such queries measure whether search finds a named product,
not whether people like the results. Reports say so, and judged queries replace them.

Words are drawn from the title and, with probability `noise`, from the whole catalog (the paper's mixture of item and
background).

Source: Azzopardi, de Rijke and Balog, "Building simulated queries for known-item topics", SIGIR 2007.
doi:10.1145/1277741.1277820
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
    """Whether a query was made by `known_items`.

    >>> is_synthetic(QueryId("known-00007")), is_synthetic(QueryId("q7"))
    (True, False)
    """
    return query_id.startswith(_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownItemsConfig:
    """Number and length of the synthetic queries."""

    num_queries: int = setting("number of queries, each for another product; fewer when the catalog is smaller", 300)
    min_words: int = setting("fewest words of a query", 2, advanced=True)
    max_words: int = setting("most words of a query", 4, advanced=True)
    noise: float = setting(
        "share of words drawn from the whole catalog instead of the title: words that people remember wrongly, or "
        "replace by others",
        0.0,
        advanced=True,
    )
    seed: int = setting("seed of every draw", 11, advanced=True)

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
    """Queries of title words, drawn in proportion to their rarity in the catalog, in the title's order.

    Args:
        titles: title of each product; all products with the same folded title are relevant.
        config: number and length.
        splits: assigned to the queries in turn; (train, train, train, validation, test) gives 60 / 20 / 20.

    Returns:
        The queries, `known-00000` on, and their judgments, grade 3.

    >>> titles = {ProductId("p1"): "Red cotton shirt"}
    >>> queries, judgments = known_items(titles, KnownItemsConfig(min_words=3), splits=("test",))
    >>> queries[0].text, judgments[0].product_id
    ('red cotton shirt', 'p1')
    """
    rng = np.random.default_rng(config.seed)
    words = {product_id: text.unstemmed_words(title) for product_id, title in sorted(titles.items())}
    same_title: dict[str, list[ProductId]] = {}
    for product_id, title in sorted(titles.items()):
        same_title.setdefault(text.fold(title), []).append(product_id)
    num_with = Counter(word for title_words in words.values() for word in set(title_words))
    catalog_words = [word for title_words in words.values() for word in title_words]
    eligible = [product_id for product_id, title_words in words.items() if len(set(title_words)) >= config.min_words]
    queries: list[JudgedQuery] = []
    judgments: list[Judgment] = []
    for number, at in enumerate(rng.permutation(len(eligible))[: config.num_queries]):
        target = eligible[int(at)]
        query_words = _draw_words(words[target], num_with, len(words), config, rng)
        query_words = _with_noise(query_words, catalog_words, config, rng)
        query_id = QueryId(f"{_PREFIX}{number:05d}")
        query_text = ("" if all(text.has_han(word) for word in query_words) else " ").join(query_words)
        queries.append(
            JudgedQuery(
                query_id=query_id,
                text=query_text,
                image=None,
                locale=text.detect_locale(query_text),
                split=splits[number % len(splits)],
            )
        )
        judgments += [
            Judgment(query_id=query_id, product_id=product_id, grade=_TOP_GRADE)
            for product_id in same_title[text.fold(titles[target])]
        ]
    return queries, judgments


def _draw_words(
    title_words: Sequence[str],
    num_with: Mapping[str, int],
    num_titles: int,
    config: KnownItemsConfig,
    rng: np.random.Generator,
) -> list[str]:
    distinct = list(dict.fromkeys(title_words))
    num_words = int(rng.integers(config.min_words, config.max_words + 1))
    rarity = np.array([math.log(1 + num_titles / num_with[word]) for word in distinct])
    positions = rng.choice(len(distinct), size=min(num_words, len(distinct)), replace=False, p=rarity / rarity.sum())
    return [distinct[position] for position in sorted(positions)]


def _with_noise(
    words: Sequence[str], catalog_words: Sequence[str], config: KnownItemsConfig, rng: np.random.Generator
) -> list[str]:
    """Replace words by catalog words, drawn by their frequency; at least one word of the title stays."""
    replacements = rng.integers(len(catalog_words), size=len(words))
    is_replaced = rng.random(len(words)) < config.noise
    is_replaced[int(rng.integers(len(words)))] = False
    return [
        catalog_words[replacement] if replaced else word
        for word, replacement, replaced in zip(words, replacements, is_replaced, strict=True)
    ]
