"""Texts that look right and are not: the best finds of a search, without what is known or likely to be good.

Who searches is the caller's matter. Letters: N texts of the catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from intarsia.config import check_range, setting
from intarsia.training.text_examples import NO_GROUP, TextExample

Search = Callable[[str], NDArray[np.floating]]
"""An anchor to a score per text of the catalog: BM25's, or cosines of the tower as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativesConfig:
    """How many hard negatives each example gets, and how near they may be."""

    bm25: int = setting("negatives per example among the best finds by words", 0)
    model: int = setting("negatives per example among the best finds of the tower as it is before the fit", 0)
    depth: int = setting("finds among which they are looked for", 50)
    most_of_positive: float = setting(
        "finds that score above this share of the example's worst positive are passed over: they are likely good", 0.95
    )

    def __post_init__(self) -> None:
        check_range(self, "bm25", "model", low=0)
        check_range(self, "depth", low=1)
        check_range(self, "most_of_positive", low=0.0, high=1.0)


def with_negatives(
    examples: Sequence[TextExample],
    catalog: Sequence[str],
    groups: Sequence[str],
    search: Search,
    count: int,
    *,
    depth: int,
    most_of_positive: float,
) -> list[TextExample]:
    """The examples, each with up to `count` found texts of grade 0 behind its own.

    Args:
        examples: of any source; those without a positive stay as they are.
        catalog: N texts, with their product `groups`.
        search: scores the catalog for an anchor.
        count: most negatives of one example.
        depth: best finds that are looked at.
        most_of_positive: a find that scores above this share of the lowest-scored positive of the example is passed over
            (positives that are not in the catalog set no bound).

    Source: positive-aware mining with a share of the positive's score, Moreira et al., arXiv:2407.15831, section 3.1 (TopK-PercPos).
    """
    place = {text: n for n, text in enumerate(catalog)}
    return [_with_found(one, catalog, groups, place, search, count, depth, most_of_positive) for one in examples]


def _with_found(
    example: TextExample,
    catalog: Sequence[str],
    groups: Sequence[str],
    place: dict[str, int],
    search: Search,
    count: int,
    depth: int,
    most_of_positive: float,
) -> TextExample:
    good = [text for text, grade in zip(example.texts, example.grades, strict=True) if grade > 0]
    if not good or not count:
        return example
    scores_N = search(example.anchor)
    bounds = [float(scores_N[place[text]]) for text in good if text in place]
    bound = most_of_positive * min(bounds) if bounds else float("inf")
    own_texts, own_groups = set(example.texts), set(example.groups) - {NO_GROUP}
    found: list[int] = []
    for n in np.argsort(-scores_N, kind="stable")[:depth]:
        if len(found) == count:
            break
        if scores_N[n] <= bound and catalog[n] not in own_texts and groups[n] not in own_groups:
            found.append(int(n))
            own_texts.add(catalog[n])
    return replace(
        example,
        texts=(*example.texts, *(catalog[n] for n in found)),
        grades=(*example.grades, *([0.0] * len(found))),
        groups=(*example.groups, *(groups[n] for n in found)),
    )
