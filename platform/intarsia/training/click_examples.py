"""Weak labels from behaviour: what shoppers took from a page against what they passed over, as graded texts of what they had asked.

Where pages come from is `engine/clicked_pages.py`'s matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from intarsia.ids import ProductId
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
