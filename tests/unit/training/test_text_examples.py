"""Examples from judgments, fields and pseudo-labels; hard negatives; what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from intarsia.ids import ProductId, QueryId
from intarsia.records.judgment import JudgedQuery, Judgment
from intarsia.records.product import Product
from intarsia.training.text_examples import (
    Confidence,
    NegativesConfig,
    TextExample,
    add_hard_negatives,
    field_examples,
    fit_confidence,
    judged_examples,
    pseudo_examples,
)

CATALOG = ["blue bag", "blue mug", "red bag", "red bag, leather", "red mug"]
GROUPS = ["", "", "g", "g", ""]


def query(name: str, text: str | None, image: bytes | None = None) -> JudgedQuery:
    return JudgedQuery(query_id=QueryId(name), text=text, image=image, locale="en", split="train")


def judged(query_id: str, product_id: str, grade: float) -> Judgment:
    return Judgment(query_id=QueryId(query_id), product_id=ProductId(product_id), grade=grade)


def red_bags_example(**changed: object) -> TextExample:
    defaults = {"anchor": "red bags", "texts": ("red bag", "blue mug"), "grades": (3.0, 0.0), "groups": ("g", "")}
    return TextExample(**{**defaults, "query_id": "q1", **changed})  # type: ignore[arg-type]


def test_judged_examples_have_their_products_in_a_fixed_order() -> None:
    text_of = {ProductId("a"): "red bag", ProductId("b"): "blue mug", ProductId("e"): ""}
    examples = judged_examples(
        [
            query("q1", "red bags"),
            query("q2", None, b"picture"),
            query("q3", "nobody judged this"),
            query("q4", "only one without a text"),
        ],
        [
            judged("q1", "b", 0.0),
            judged("q1", "a", 3.0),
            judged("q1", "gone", 3.0),
            judged("q1", "e", 3.0),
            judged("q2", "a", 3.0),
            judged("q4", "e", 3.0),
        ],
        text_of,
        {ProductId("a"): "g"},
    )
    assert examples == [red_bags_example()]


def test_field_examples_pair_a_field_with_the_product_text() -> None:
    bag = Product(product_id=ProductId("a"), title="Red bag", category_path=("Bags", "Totes"))
    to_jsonable = Product(product_id=ProductId("b"), title="Mug")
    text_of = {bag.product_id: "Red bag", to_jsonable.product_id: "Mug"}
    examples = field_examples([bag, to_jsonable], text_of, {bag.product_id: "g"}, ("category", "title"), weight=0.2)
    assert [
        (example.anchor, example.texts, example.grades, example.groups, example.weight) for example in examples
    ] == [
        ("Bags Totes", ("Red bag",), (3.0,), ("g",), 0.2)  # a title does not ask for itself
    ]
    assert examples[0].query_id == ""


def test_confidence_recovers_the_curve_of_the_labels() -> None:
    rng = np.random.default_rng(3)
    cosines_n = rng.uniform(-1, 1, 20_000)
    is_fit_n = rng.random(20_000) < 1 / (1 + np.exp(-(6.0 * cosines_n - 2.0)))
    confidence = fit_confidence(cosines_n, is_fit_n)
    assert confidence.slope == pytest.approx(6.0, rel=0.05)
    assert confidence.bias == pytest.approx(-2.0, rel=0.05)


def test_confidence_of_separable_labels_is_finite() -> None:
    confidence = fit_confidence(np.linspace(-1, 1, 50), np.linspace(-1, 1, 50) > 0.2)
    assert np.isfinite([confidence.slope, confidence.bias]).all()
    assert confidence(np.array([0.9]))[0] > 0.99 > 0.01 > confidence(np.array([-0.5]))[0]


@pytest.mark.parametrize("fits", [True, False])
def test_a_confidence_needs_both_labels(fits: bool) -> None:
    with pytest.raises(ValueError, match=r"\d of 3 judged pairs fit"):
        fit_confidence(np.zeros(3), np.full(3, fits))


def test_pseudo_examples_are_the_most_confident_unjudged_texts() -> None:
    cosines_N = np.array([0.1, 0.99, 0.9, 0.8, 0.2], np.float32)
    sure = Confidence(slope=10.0, bias=-5.0)
    examples = pseudo_examples(
        [red_bags_example()],
        CATALOG,
        GROUPS,
        lambda anchor: cosines_N,
        sure,
        min_confidence=0.9,
        max_per_anchor=5,
        weight=0.5,
    )
    assert [(example.texts, example.query_id, example.source) for example in examples] == [
        (("red bag, leather",), "q1", "pseudo")
    ]
    assert examples[0].weight == pytest.approx(0.5 / (1 + np.exp(-3.0)), rel=1e-5)
    assert not pseudo_examples(
        [red_bags_example()],
        CATALOG,
        GROUPS,
        lambda anchor: cosines_N,
        sure,
        min_confidence=0.99,
        max_per_anchor=5,
        weight=0.5,
    )


def with_negatives(
    example: TextExample, scores: list[float], *, count: int = 2, most: float = 0.95, depth: int = 5
) -> TextExample:
    scores_N = np.array(scores)
    return add_hard_negatives(
        [example], CATALOG, GROUPS, lambda anchor: scores_N, count, depth=depth, most_of_positive=most
    )[0]


def test_negatives_are_top_results_below_the_bound() -> None:
    examples = with_negatives(red_bags_example(), [0.5, 0.9, 1.0, 0.6, 0.7])
    assert examples.texts == (
        "red bag",
        "blue mug",
        "red mug",
        "blue bag",
    )  # not the group's other bag, not its own mug again
    assert examples.grades == (3.0, 0.0, 0.0, 0.0)


def test_a_result_that_scores_like_the_positive_is_skipped() -> None:
    assert with_negatives(red_bags_example(), [0.5, 0.0, 1.0, 0.6, 0.96]).texts == ("red bag", "blue mug", "blue bag")


def test_depth_limits_the_results_considered() -> None:
    assert with_negatives(red_bags_example(), [0.5, 0.9, 1.0, 0.6, 0.7], depth=3).texts == (
        "red bag",
        "blue mug",
        "red mug",
    )


def test_an_example_without_a_positive_stays_as_it_is() -> None:
    without_positive = red_bags_example(grades=(0.0, 0.0))
    assert with_negatives(without_positive, [0.5, 0.9, 1.0, 0.6, 0.7]) == without_positive


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"most_of_positive is 1\.5"):
        NegativesConfig(most_of_positive=1.5)
