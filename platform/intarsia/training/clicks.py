"""Weak labels from behaviour: training examples from the pages of the request log and the clicks, carts and purchases
on them.

The log of served requests has the query text and the page; the events have the actions. They are joined by request id.
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
    """A page served for a text query: its products in display order, and those that were taken (clicked, added to cart
    or bought).
    """

    text: str
    shown: tuple[ProductId, ...]
    taken: frozenset[ProductId]


@dataclass(slots=True)
class _QueryCounts:
    """Counts of one query text: its first spelling, and on how many pages each product was seen and taken."""

    text: str
    seen: Counter[ProductId] = field(default_factory=Counter)
    taken: Counter[ProductId] = field(default_factory=Counter)


def build_click_examples(
    pages: Iterable[ClickedPage],
    text_of: Mapping[ProductId, str],
    group_of: Mapping[ProductId, str],
    *,
    weight: float,
    least_seen: int,
    query_ids: Mapping[str, str],
) -> list[TextExample]:
    """Build one example per query text, sorted by folded text.

    Products at lower positions are clicked less because fewer shoppers look at them. So a product counts as seen only
    on pages where it is at or above the last product taken, and its attractiveness is the share of those pages on which
    it was taken. The most attractive product of a query gets grade 3, the others a proportional grade, rounded; 0 was
    seen and not taken.

    Args:
        pages: pages on which nothing was taken are ignored.
        text_of: text that a tower reads of each product; products without text are left out.
        group_of: product group by product; a product without one is its own group.
        weight: weight of each example; judged examples weigh 1.
        least_seen: pages on which a product must have been seen. A query whose seen products were never taken gives no
            example.
        query_ids: folded text -> id of the judged train query with the same text, so that folds leave out both.

    Source: the estimate of the dependent click model, Guo, Liu and Wang, WSDM 2009, doi:10.1145/1498759.1498818; after
    the clicks over skipped ones above of Joachims, KDD 2002, doi:10.1145/775047.775067
    """
    counts_of: dict[str, _QueryCounts] = {}
    for page in pages:
        taken_positions = [position for position, product in enumerate(page.shown) if product in page.taken]
        if taken_positions and (folded := fold(page.text)):
            counts = counts_of.setdefault(folded, _QueryCounts(page.text))
            counts.seen.update(set(page.shown[: taken_positions[-1] + 1]))
            counts.taken.update({page.shown[position] for position in taken_positions})
    examples = []
    for folded, counts in sorted(counts_of.items()):
        product_ids = sorted(
            product for product, num_pages in counts.seen.items() if num_pages >= least_seen and text_of.get(product)
        )
        attractions = [counts.taken[product] / counts.seen[product] for product in product_ids]
        if not any(attractions):
            continue
        highest = max(attractions)
        examples.append(
            TextExample(
                anchor=counts.text,
                texts=tuple(text_of[product] for product in product_ids),
                grades=tuple(float(round(_HIGHEST_GRADE * attraction / highest)) for attraction in attractions),
                groups=tuple(group_of.get(product, NO_GROUP) for product in product_ids),
                weight=weight,
                source="clicks",
                query_id=query_ids.get(folded, ""),
            )
        )
    return examples


_TAKEN_BY = ("click", "add_to_cart", "purchase")
_SERVED = "served"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClicksConfig:
    """Which clicks become training examples, and their weight."""

    weight: float = setting("weight of an example; a judged example weighs 1", 0.5, advanced=True)
    least_seen: int = setting("pages on which a product must have been seen to count for a query", 3, advanced=True)
    until: str | None = setting(
        "events received after this time are ignored, ISO 8601 with time zone; default: the last event",
        None,
        advanced=True,
    )
    served: Path | None = setting(
        "folder of the log of served requests; default: <lake>/served. The default log is not an input of the job: "
        "only new events, not new pages, start the job again",
        None,
        advanced=True,
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
    """Build click examples from the shop's own log.

    The text of a validation or test query is left out. So is a text that two train queries share, since they may be in
    different folds.

    Args:
        config: which clicks.
        lake: with events, and queries if there are any.
        text_of: text that a tower reads of each product.
        group_of: product group by product.
        train_queries: text and id of each judged train query.

    Raises:
        ConfigError: there are no events, or none belongs to a page of the log.
    """
    served = config.served or lake.root / _SERVED
    if not lake.has("events"):
        raise ConfigError(
            f"clicks needs events, but {lake.root} has none; run ingest_events, or remove clicks from sources.use"
        )
    ids_of: dict[str, set[str]] = {}
    for text, query_id in train_queries:
        ids_of.setdefault(fold(text), set()).add(query_id)
    query_ids = {
        folded: next(iter(query_ids_of_text))
        for folded, query_ids_of_text in ids_of.items()
        if len(query_ids_of_text) == 1
    }
    excluded = _held_out_words(lake) | (ids_of.keys() - query_ids.keys())
    pages = (page for page in _pages(config, lake, served) if fold(page.text) not in excluded)
    examples = build_click_examples(
        pages,
        text_of,
        group_of,
        weight=config.weight,
        least_seen=config.least_seen,
        query_ids=query_ids,
    )
    if not examples:
        raise ConfigError(
            f"no page of the log in {served} has a product that was seen {config.least_seen} times and taken; set "
            "clicks.served to the log that these events belong to, lower clicks.least_seen, or leave clicks out"
        )
    return examples


def _pages(config: ClicksConfig, lake: Lake, served: Path) -> Iterator[ClickedPage]:
    taken = _taken_by_request(config, lake)
    for request in read_served(served):
        if request.request_id in taken and _is_text_only(request.query):
            shown = tuple(product for _, product in sorted(request.shown))
            yield ClickedPage(text=request.query.text or "", shown=shown, taken=frozenset(taken[request.request_id]))


def _taken_by_request(config: ClicksConfig, lake: Lake) -> dict[str, set[ProductId]]:
    until = None if config.until is None else datetime.fromisoformat(config.until)
    taken: dict[str, set[ProductId]] = {}
    for batch in EVENTS.batches(lake.current("events"), ["request_id", "kind", "product_id", "received_at"]):
        for row in batch.to_pylist():
            if row["kind"] in _TAKEN_BY and (until is None or row["received_at"] <= until):
                taken.setdefault(row["request_id"], set()).add(ProductId(row["product_id"]))
    return taken


def _is_text_only(query: Query) -> bool:
    """Whether a click can only be due to the text: the query has no image and no seed product."""
    return bool(query.text) and query.image is None and not query.seed_product_ids


def _held_out_words(lake: Lake) -> frozenset[str]:
    if not lake.has("queries"):
        return frozenset()
    rows = QUERIES.read(lake.current("queries"), ["text", "split"]).to_pylist()
    return frozenset(fold(row["text"]) for row in rows if row["text"] and row["split"] != "train")
