"""Weak labels from behaviour: what shoppers took from a page against what they passed over, as graded texts of what they had asked.

Where pages come from is `engine/clicked_pages.py`'s matter.


What shoppers asked and took: the log of served requests, which knows the words and the page, joined to the events, which know the acts.

What a tower learns from that is `encoders/learning/clicked.py`'s matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from intarsia.config import check_range, setting
from intarsia.errors import ConfigError
from intarsia.ids import ProductId
from intarsia.lake import Lake
from intarsia.records.query import Query
from intarsia.tables.events import EVENTS
from intarsia.tables.judgments import QUERIES
from intarsia.tables.served_requests import read_served
from intarsia.text import fold
from intarsia.training.text_examples import NO_GROUP, TextExample

_HIGHEST_GRADE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickedPage:
    """One answered question in words: the products in the order in which they were shown, and those that were taken (clicked, bought)."""

    text: str
    shown: tuple[ProductId, ...]
    taken: frozenset[ProductId]


@dataclass(slots=True)
class _Asked:
    """What is known of one question: its first spelling, and on how many pages each product was seen and taken."""

    text: str
    seen: Counter[ProductId] = field(default_factory=Counter)
    taken: Counter[ProductId] = field(default_factory=Counter)


def clicked_examples(
    pages: Iterable[ClickedPage],
    text_of: Mapping[ProductId, str],
    group_of: Mapping[ProductId, str],
    *,
    weight: float,
    least_seen: int,
    query_ids: Mapping[str, str],
) -> list[TextExample]:
    """One example per question that was asked, in the order of its folded words.

    Places further down are clicked less because they are looked at less. So a product counts as seen only on pages where it stands at or
    above the last one taken, and its attraction is the share of those pages on which it was taken. The most attractive product of a
    question is grade 3, the others stand in proportion, rounded to whole grades; 0 was passed over.

    Args:
        pages: those on which nothing was taken say nothing.
        text_of: what a tower reads of each product; products without words are left out.
        group_of: product group by product; those without one are alone.
        weight: of each example; judged ones weigh 1.
        least_seen: pages on which a product must have been seen; a question whose seen products were never taken gives no example.
        query_ids: folded words -> id of the judged train query that asks the same, so that folds leave both out.

    Source: the estimate of the dependent click model, Guo, Liu and Wang, WSDM 2009, doi:10.1145/1498759.1498818; after the clicks over
    skipped ones above of Joachims, KDD 2002, doi:10.1145/775047.775067
    """
    asked: dict[str, _Asked] = {}
    for page in pages:
        taken_at = [place for place, product in enumerate(page.shown) if product in page.taken]
        if taken_at and (words := fold(page.text)):
            one = asked.setdefault(words, _Asked(page.text))
            one.seen.update(set(page.shown[: taken_at[-1] + 1]))
            one.taken.update({page.shown[place] for place in taken_at})
    examples = []
    for words, one in sorted(asked.items()):
        known = sorted(product for product, num in one.seen.items() if num >= least_seen and text_of.get(product))
        attractions = [one.taken[product] / one.seen[product] for product in known]
        if not any(attractions):
            continue
        most = max(attractions)
        examples.append(
            TextExample(
                anchor=one.text,
                texts=tuple(text_of[product] for product in known),
                grades=tuple(float(round(_HIGHEST_GRADE * attraction / most)) for attraction in attractions),
                groups=tuple(group_of.get(product, NO_GROUP) for product in known),
                weight=weight,
                source="clicks",
                query_id=query_ids.get(words, ""),
            )
        )
    return examples


_TAKEN_BY = ("click", "add_to_cart", "purchase")
_SERVED = "served"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClicksConfig:
    """Which behaviour counts, and how much."""

    weight: float = setting("weight against a judged example", 0.5)
    least_seen: int = setting("pages on which a product must have been seen for a question", 3)
    until: str | None = setting(
        "events received later do not count, ISO 8601 with time zone; nothing means up to the last one there is", None
    )
    served: Path | None = setting(
        "folder of the log of served requests; nothing means <lake>/served, where new events alone, not new pages, make a new tower",
        None,
    )

    def __post_init__(self) -> None:
        check_range(self, "weight", low=0.0)
        check_range(self, "least_seen", low=1)
        if self.until is not None and datetime.fromisoformat(self.until).tzinfo is None:
            raise ValueError(
                f"until is {self.until!r}, without a time zone; write for example 2026-03-01T12:00:00+00:00"
            )


def read_click_examples(
    config: ClicksConfig,
    lake: Lake,
    text_of: Mapping[ProductId, str],
    group_of: Mapping[ProductId, str],
    train_queries: Iterable[tuple[str, str]],
) -> list[TextExample]:
    """Examples from the shop's own log.

    What a validation or test query asks is left out, whoever asked it; so is what two train queries ask, as each may be of another fold.

    Args:
        config: which behaviour.
        lake: with events, and queries if there are any.
        text_of: what a tower reads of each product.
        group_of: product group by product.
        train_queries: words and id of each judged train query.

    Raises:
        ConfigError: no events, or none that tells of a page in the log.
    """
    served = config.served or lake.root / _SERVED
    if not lake.has("events"):
        raise ConfigError(f"clicks needs events, and {lake.root} has none; run ingest_events, or leave clicks out")
    ids_of: dict[str, set[str]] = {}
    for words, query_id in train_queries:
        ids_of.setdefault(fold(words), set()).add(query_id)
    query_ids = {words: next(iter(ids)) for words, ids in ids_of.items() if len(ids) == 1}
    left_out = _held_out_words(lake) | (ids_of.keys() - query_ids.keys())
    pages = (page for page in _pages(config, lake, served) if fold(page.text) not in left_out)
    examples = clicked_examples(
        pages,
        text_of,
        group_of,
        weight=config.weight,
        least_seen=config.least_seen,
        query_ids=query_ids,
    )
    if not examples:
        raise ConfigError(
            f"no page of the log in {served} has a product that was seen {config.least_seen} times and taken; set clicks.served to the log "
            "that these events belong to, lower clicks.least_seen, or leave clicks out"
        )
    return examples


def _pages(config: ClicksConfig, lake: Lake, served: Path) -> Iterator[ClickedPage]:
    taken = _taken_by_request(config, lake)
    for one in read_served(served):
        if one.request_id in taken and _asks_in_words_alone(one.query):
            shown = tuple(product for _, product in sorted(one.shown))
            yield ClickedPage(text=one.query.text or "", shown=shown, taken=frozenset(taken[one.request_id]))


def _taken_by_request(config: ClicksConfig, lake: Lake) -> dict[str, set[ProductId]]:
    until = None if config.until is None else datetime.fromisoformat(config.until)
    taken: dict[str, set[ProductId]] = {}
    for batch in EVENTS.batches(lake.current("events"), ["request_id", "kind", "product_id", "received_at"]):
        for row in batch.to_pylist():
            if row["kind"] in _TAKEN_BY and (until is None or row["received_at"] <= until):
                taken.setdefault(row["request_id"], set()).add(ProductId(row["product_id"]))
    return taken


def _asks_in_words_alone(query: Query) -> bool:
    """A click after words and a picture does not say which of them it answers."""
    return bool(query.text) and query.image is None and not query.seed_product_ids


def _held_out_words(lake: Lake) -> frozenset[str]:
    if not lake.has("queries"):
        return frozenset()
    rows = QUERIES.read(lake.current("queries"), ["text", "split"]).to_pylist()
    return frozenset(fold(row["text"]) for row in rows if row["text"] and row["split"] != "train")
