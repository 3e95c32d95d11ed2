"""Training examples of a text tower: anchors with graded texts, from judgments, catalog fields and pseudo-labels; and
hard negatives.

Click examples: see `clicks.py`.

Letters: L texts listed for one anchor, n judged pairs, N texts of the catalog, D width.
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
_LONGEST_STEP = 5.0  # limits Newton steps, which can overshoot where the curve is flat
_FIT_STEPS = 200  # enough for Newton's method to converge on two parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class TextExample:
    """One anchor and texts graded 0..3 for it.

    Attributes:
        anchor: query text.
        texts: L, at least one.
        grades: L; 0 is a text that does not fit, such as a mined negative.
        groups: L; texts of one product group are never negatives of each other; NO_GROUP: none.
        weight: weight of the example in every loss but R-Drop.
        source: origin of the example.
        query_id: of a judged query; empty for others. It decides the fold.
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
    """One example per query that has text and a judged product with a text, in the order of the queries.

    A product whose text is empty (it has none of the fields that are read) is left out: its vector carries no
    information.
    """
    by_query: dict[QueryId, list[Judgment]] = {}
    for judgment in judgments:
        if text_of.get(judgment.product_id):
            by_query.setdefault(judgment.query_id, []).append(judgment)
    examples = []
    for query in queries:
        if query.text and (judged := by_query.get(query.query_id)):
            judged = sorted(judged, key=lambda judgment: str(judgment.product_id))
            examples.append(
                TextExample(
                    anchor=query.text,
                    texts=tuple(text_of[judgment.product_id] for judgment in judged),
                    grades=tuple(judgment.grade for judgment in judged),
                    groups=tuple(group_of.get(judgment.product_id, NO_GROUP) for judgment in judged),
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
    """Weak labels: one field of a product (its category, its attributes) as the query, the product's text as the
    positive.

    Args:
        products: the catalog.
        text_of: text that a tower reads of each product.
        group_of: product group by product; a product without one is its own group.
        anchor_fields: each gives one example per product that has it.
        weight: weight of each example; judged examples weigh 1.
        longest_anchor: characters of the field that are used; no query is as long as a description.
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
    """Probability that a text with a given cosine fits: 1 / (1 + e^-(slope * cosine + bias))."""

    slope: float
    bias: float

    def __call__(self, cosines_n: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probabilities, float64 [n], 0..1."""
        return _logistic(self.slope * np.asarray(cosines_n, np.float64) + self.bias)


def fit_confidence(cosines_n: NDArray[np.floating], is_fit_n: NDArray[np.bool_]) -> Confidence:
    """Fit a logistic curve to judged pairs that the tower was not trained on, with a small ridge penalty on the slope.

    Raises:
        ValueError: all pairs fit, or none does.

    Source: Platt scaling, Advances in Large Margin Classifiers, 1999, by Newton's method.
    """
    if is_fit_n.all() or not is_fit_n.any():
        raise ValueError(
            f"{int(is_fit_n.sum())} of {len(is_fit_n)} judged pairs fit; allowed: at least one that fits and one that "
            "does not"
        )
    inputs_n2 = np.stack([np.asarray(cosines_n, np.float64), np.ones(len(cosines_n))], axis=1)
    ridge_22 = np.diag([1e-3, 1e-9])
    weights_2 = np.zeros(2)
    for _ in range(_FIT_STEPS):
        probabilities_n = _logistic(inputs_n2 @ weights_2)
        gradient_2 = inputs_n2.T @ (probabilities_n - is_fit_n) + ridge_22 @ weights_2
        hessian_22 = (inputs_n2 * (probabilities_n * (1.0 - probabilities_n))[:, None]).T @ inputs_n2 + ridge_22
        step_2 = np.linalg.solve(hessian_22, gradient_2)
        weights_2 = weights_2 - step_2 / max(1.0, float(np.abs(step_2).max()) / _LONGEST_STEP)
    return Confidence(slope=float(weights_2[0]), bias=float(weights_2[1]))


def pseudo_examples(
    judged: Sequence[TextExample],
    catalog: Sequence[str],
    groups: Sequence[str],
    cosines_of: Callable[[str], NDArray[np.floating]],
    confidence: Confidence,
    *,
    min_confidence: float,
    max_per_anchor: int,
    weight: float,
) -> list[TextExample]:
    """Unjudged texts that fit an anchor with high confidence, as grade 3; an anchor without any gives no example.

    Args:
        judged: their anchors are used; their own texts are skipped.
        catalog: N texts, with their `groups`.
        cosines_of: an anchor -> its cosine to each text of the catalog, [N].
        confidence: of a cosine.
        min_confidence: lowest confidence of a text.
        max_per_anchor: largest number of texts of an anchor; the most confident ones are taken.
        weight: of each example, times the mean confidence of its texts.

    Source: pseudo-labels, Lee, ICML 2013 workshop on challenges in representation learning.
    """
    examples = []
    for example in judged:
        cosines_N, own_texts = cosines_of(example.anchor), set(example.texts)
        taken: dict[str, int] = {}
        for n in np.argsort(-cosines_N, kind="stable"):
            if len(taken) == max_per_anchor or confidence(cosines_N[n : n + 1])[0] < min_confidence:
                break
            if catalog[n] not in own_texts:
                taken.setdefault(catalog[n], int(n))
        if taken:
            rows = list(taken.values())
            examples.append(
                TextExample(
                    anchor=example.anchor,
                    texts=tuple(taken),
                    grades=(_PAIR_GRADE,) * len(taken),
                    groups=tuple(groups[n] for n in rows),
                    weight=weight * float(confidence(cosines_N[rows]).mean()),
                    source="pseudo",
                    query_id=example.query_id,
                )
            )
    return examples


def draw_evenly(grades: Sequence[float], count: int, rng: np.random.Generator) -> list[int]:
    """Draw up to `count` positions of texts: one of each grade in turn, in random order."""
    shuffled = rng.permutation(len(grades))
    by_grade = [[int(n) for n in shuffled if grades[n] == grade] for grade in rng.permutation(sorted(set(grades)))]
    drawn: list[int] = []
    while len(drawn) < min(count, len(grades)):
        for positions in by_grade:
            if positions and len(drawn) < count:
                drawn.append(positions.pop())
    return drawn


def _logistic(values_n: NDArray[np.float64]) -> NDArray[np.float64]:
    probabilities_n: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * values_n))  # no overflow on either side
    return probabilities_n


ScoreCatalog = Callable[[str], NDArray[np.floating]]
"""An anchor to a score per text of the catalog: BM25, or cosines of the tower before the fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativesConfig:
    """Number of mined hard negatives per example, and how similar they may be."""

    bm25: int = setting("hard negatives per example from the top BM25 results", 0, advanced=True)
    model: int = setting(
        "hard negatives per example from the top results of the tower before the fit", 0, advanced=True
    )
    depth: int = setting("number of top results that are considered", 50, advanced=True)
    most_of_positive: float = setting(
        "results that score above this share of the example's lowest positive are skipped: they probably fit",
        0.95,
        advanced=True,
    )

    def __post_init__(self) -> None:
        check_range(self, "bm25", "model", low=0)
        check_range(self, "depth", low=1)
        check_range(self, "most_of_positive", low=0.0, high=1.0)


def add_hard_negatives(
    examples: Sequence[TextExample],
    catalog: Sequence[str],
    groups: Sequence[str],
    search: ScoreCatalog,
    count: int,
    *,
    depth: int,
    most_of_positive: float,
) -> list[TextExample]:
    """Append up to `count` mined texts of grade 0 to each example.

    Args:
        examples: of any source; an example without a positive is not changed.
        catalog: N texts, with their product `groups`.
        search: scores the catalog for an anchor.
        count: largest number of negatives per example.
        depth: number of top results that are considered.
        most_of_positive: a result that scores above this share of the lowest-scored positive of the example is skipped
            (positives that are not in the catalog set no bound).

    Source: positive-aware mining with a share of the positive's score, Moreira et al., arXiv:2407.15831, section 3.1
    (TopK-PercPos).
    """
    row_of = {text: n for n, text in enumerate(catalog)}
    return [
        _add_to_example(example, catalog, groups, row_of, search, count, depth, most_of_positive)
        for example in examples
    ]


def _add_to_example(
    example: TextExample,
    catalog: Sequence[str],
    groups: Sequence[str],
    row_of: dict[str, int],
    search: ScoreCatalog,
    count: int,
    depth: int,
    most_of_positive: float,
) -> TextExample:
    positives = [text for text, grade in zip(example.texts, example.grades, strict=True) if grade > 0]
    if not positives or not count:
        return example
    scores_N = search(example.anchor)
    bounds = [float(scores_N[row_of[text]]) for text in positives if text in row_of]
    bound = most_of_positive * min(bounds) if bounds else float("inf")
    own_texts, own_groups = set(example.texts), set(example.groups) - {NO_GROUP}
    negatives: list[int] = []
    for n in np.argsort(-scores_N, kind="stable")[:depth]:
        if len(negatives) == count:
            break
        if scores_N[n] <= bound and catalog[n] not in own_texts and groups[n] not in own_groups:
            negatives.append(int(n))
            own_texts.add(catalog[n])
    return replace(
        example,
        texts=(*example.texts, *(catalog[n] for n in negatives)),
        grades=(*example.grades, *([0.0] * len(negatives))),
        groups=(*example.groups, *(groups[n] for n in negatives)),
    )
