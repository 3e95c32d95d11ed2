"""What texts are compared with: anchors with graded texts, from judgments, from the catalog's own fields, and from a tower that is sure.

Letters: L texts listed for one anchor, n judged pairs, D width.


Texts that look right and are not: the best finds of a search, without what is known or likely to be good.

Who searches is the caller's matter. Letters: N texts of the catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from intarsia.config import check_range, setting
from intarsia.encoders.inputs import TextField, product_text
from intarsia.ids import ProductId, QueryId
from intarsia.records.judgment import JudgedQuery, Judgment
from intarsia.records.product import Product

ExampleSource = Literal["judged", "fields", "clicks", "pseudo"]
NO_GROUP = ""
_PAIR_GRADE = 3.0
_LONGEST_STEP = 5.0  # a full Newton step can overshoot where the curve is flat
_FIT_STEPS = 200  # Newton's method on two parameters is done long before


@dataclass(frozen=True, slots=True, kw_only=True)
class TextExample:
    """One anchor and texts graded 0..3 for it.

    Attributes:
        anchor: what is asked.
        texts: L, at least one.
        grades: L; 0 is a text that does not fit, such as a mined negative.
        groups: L; texts of one product group are never each other's negatives, NO_GROUP is none.
        weight: of the example against the others of a batch, in every loss but R-Drop.
        source: where it comes from.
        query_id: of a judged query; empty for others. Folds are cut by it.
    """

    anchor: str
    texts: tuple[str, ...]
    grades: tuple[float, ...]
    groups: tuple[str, ...]
    weight: float = 1.0
    source: ExampleSource = "judged"
    query_id: str = ""

    def __post_init__(self) -> None:
        assert self.texts and len(self.texts) == len(self.grades) == len(self.groups)


def judged_examples(
    queries: Iterable[JudgedQuery],
    judgments: Iterable[Judgment],
    text_of: Mapping[ProductId, str],
    group_of: Mapping[ProductId, str],
) -> list[TextExample]:
    """One example per query with words and a judged product that has a text in `text_of`, in the order of the queries.

    A product whose text is empty (it has none of the fields that are read) is left out: its vector says nothing of it.
    """
    by_query: dict[QueryId, list[Judgment]] = {}
    for judgment in judgments:
        if text_of.get(judgment.product_id):
            by_query.setdefault(judgment.query_id, []).append(judgment)
    examples = []
    for query in queries:
        if query.text and (judged := by_query.get(query.query_id)):
            judged = sorted(judged, key=lambda one: str(one.product_id))
            examples.append(
                TextExample(
                    anchor=query.text,
                    texts=tuple(text_of[one.product_id] for one in judged),
                    grades=tuple(one.grade for one in judged),
                    groups=tuple(group_of.get(one.product_id, NO_GROUP) for one in judged),
                    query_id=str(query.query_id),
                )
            )
    return examples


def field_examples(
    products: Iterable[Product],
    text_of: Mapping[ProductId, str],
    group_of: Mapping[ProductId, str],
    anchor_fields: Sequence[TextField],
    *,
    weight: float,
    longest_anchor: int = 200,
) -> list[TextExample]:
    """Weak labels: one field of a product (its category, its attributes) as if it had been asked, the product's text as the answer.

    Args:
        products: the catalog.
        text_of: what a tower reads of each product.
        group_of: product group by product; those without one are alone.
        anchor_fields: each gives one example per product that has it.
        weight: of each example; judged ones weigh 1.
        longest_anchor: characters of the field that are read: nobody asks with a whole description.
    """
    examples = []
    for product in products:
        text = text_of[product.product_id]
        groups = (group_of.get(product.product_id, NO_GROUP),)
        for field in anchor_fields:
            anchor = product_text(product, (field,))[:longest_anchor].strip()
            if anchor and text and anchor != text:
                examples.append(
                    TextExample(
                        anchor=anchor,
                        texts=(text,),
                        grades=(_PAIR_GRADE,),
                        groups=groups,
                        weight=weight,
                        source="fields",
                    )
                )
    return examples


@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """How likely a text with some cosine fits: 1 / (1 + e^-(slope * cosine + bias))."""

    slope: float
    bias: float

    def __call__(self, cosines_n: NDArray[np.floating]) -> NDArray[np.float64]:
        """float64 [n], 0..1."""
        return _logistic(self.slope * np.asarray(cosines_n, np.float64) + self.bias)


def fit_confidence(cosines_n: NDArray[np.floating], fits_n: NDArray[np.bool_]) -> Confidence:
    """The logistic curve through judged pairs that the tower did not learn from, with a light pull of the slope to 0.

    Raises:
        ValueError: all fit, or none does.

    Source: Platt scaling, Advances in Large Margin Classifiers, 1999, by Newton's method.
    """
    if fits_n.all() or not fits_n.any():
        raise ValueError(
            f"{int(fits_n.sum())} of {len(fits_n)} judged pairs fit; a confidence needs some that do and some that do not"
        )
    inputs_n2 = np.stack([np.asarray(cosines_n, np.float64), np.ones(len(cosines_n))], axis=1)
    pull_22 = np.diag([1e-3, 1e-9])
    weights_2 = np.zeros(2)
    for _ in range(_FIT_STEPS):
        likely_n = _logistic(inputs_n2 @ weights_2)
        slope_2 = inputs_n2.T @ (likely_n - fits_n) + pull_22 @ weights_2
        bend_22 = (inputs_n2 * (likely_n * (1.0 - likely_n))[:, None]).T @ inputs_n2 + pull_22
        step_2 = np.linalg.solve(bend_22, slope_2)
        weights_2 = weights_2 - step_2 / max(1.0, float(np.abs(step_2).max()) / _LONGEST_STEP)
    return Confidence(slope=float(weights_2[0]), bias=float(weights_2[1]))


def pseudo_examples(
    judged: Sequence[TextExample],
    catalog: Sequence[str],
    groups: Sequence[str],
    cosines_of: Callable[[str], NDArray[np.floating]],
    confidence: Confidence,
    *,
    least: float,
    most_per_anchor: int,
    weight: float,
) -> list[TextExample]:
    """Texts nobody judged for an anchor, of which a tower is sure, as grade 3; anchors without any give no example.

    Args:
        judged: whose anchors are asked; their own texts are passed over.
        catalog: N texts, with their `groups`.
        cosines_of: an anchor -> its cosine to each text of the catalog, [N].
        confidence: of a cosine.
        least: confidence from which a text counts.
        most_per_anchor: the surest ones are taken.
        weight: of each example, times the mean confidence of its texts.

    Source: pseudo-labels, Lee, ICML 2013 workshop on challenges in representation learning.
    """
    examples = []
    for one in judged:
        cosines_N, known = cosines_of(one.anchor), set(one.texts)
        taken: dict[str, int] = {}
        for n in np.argsort(-cosines_N, kind="stable"):
            if len(taken) == most_per_anchor or confidence(cosines_N[n : n + 1])[0] < least:
                break
            if catalog[n] not in known:
                taken.setdefault(catalog[n], int(n))
        if taken:
            places = list(taken.values())
            examples.append(
                TextExample(
                    anchor=one.anchor,
                    texts=tuple(taken),
                    grades=(_PAIR_GRADE,) * len(taken),
                    groups=tuple(groups[n] for n in places),
                    weight=weight * float(confidence(cosines_N[places]).mean()),
                    source="pseudo",
                    query_id=one.query_id,
                )
            )
    return examples


def draw_evenly(grades: Sequence[float], count: int, rng: np.random.Generator) -> list[int]:
    """Places of up to `count` texts: one of each grade in turn, in random order, until enough are drawn."""
    shuffled = rng.permutation(len(grades))
    by_grade = [[int(n) for n in shuffled if grades[n] == grade] for grade in rng.permutation(sorted(set(grades)))]
    drawn: list[int] = []
    while len(drawn) < min(count, len(grades)):
        for places in by_grade:
            if places and len(drawn) < count:
                drawn.append(places.pop())
    return drawn


def _logistic(values_n: NDArray[np.float64]) -> NDArray[np.float64]:
    likely_n: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * values_n))  # no overflow on either side
    return likely_n


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


def add_hard_negatives(
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
