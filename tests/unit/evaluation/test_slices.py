from __future__ import annotations

import numpy as np

from intarsia.evaluation.qrels import Qrels
from intarsia.evaluation.slices import (
    mean_over_relevant,
    slices_at_median,
    slices_by_share,
    slices_by_value,
    standard_slices,
)
from intarsia.ids import QueryId
from intarsia.records.judgment import JudgedQuery

NAN = float("nan")


def qrels(rows: list[int], grades: list[float]) -> Qrels:
    return Qrels(rows_J=np.array(rows, np.int64), grades_J=np.array(grades))


def test_one_slice_for_each_value() -> None:
    slices = slices_by_value("locale", ["zh", "en", "zh"])
    assert [(part.group, part.name, part.mask_Q.tolist()) for part in slices] == [
        ("locale", "en", [False, True, False]),
        ("locale", "zh", [True, False, True]),
    ]


def test_a_nan_value_is_in_no_slice() -> None:
    share = slices_by_share("images", np.array([1.0, 0.5, NAN]), all_have="all", some_lack="not all")
    assert [part.mask_Q.tolist() for part in share] == [[True, False, False], [False, True, False]]
    halves = slices_at_median("popularity", np.array([1.0, 9.0, NAN, 2.0]), low="tail", high="head")
    assert [part.mask_Q.tolist() for part in halves] == [[True, False, False, True], [False, True, False, False]]
    nothing = slices_at_median("popularity", np.array([NAN]), low="tail", high="head")
    assert [part.mask_Q.tolist() for part in nothing] == [[False], [False]]


def test_means_are_over_relevant_products_of_the_catalog() -> None:
    judged = [qrels([-1, 0, 2], [3.0, 0.0, 1.0]), qrels([0, 1], [1.0, 2.0]), qrels([0], [0.0])]
    means_Q = mean_over_relevant(judged, np.array([10.0, 20.0, 40.0]))
    assert means_Q[:2].tolist() == [40.0, 15.0]
    assert np.isnan(means_Q[2])


def test_the_standard_slices_cover_language_kind_images_and_head() -> None:
    queries = [
        JudgedQuery(query_id=QueryId("q1"), text="鞋", image=None, locale="zh", split="test"),
        JudgedQuery(query_id=QueryId("q2"), text="shoe", image=b"png", locale="en", split="test"),
    ]
    relevant = [qrels([0], [1.0]), qrels([0, 1], [1.0, 1.0])]
    slices = standard_slices(queries, relevant, np.array([True, False]), np.array([3.0, 8.0]))
    masks = {(part.group, part.name): part.mask_Q.tolist() for part in slices}
    assert masks == {
        ("locale", "en"): [False, True],
        ("locale", "zh"): [True, False],
        ("query", "both"): [False, True],
        ("query", "text"): [True, False],
        ("images", "every relevant product"): [True, False],
        ("images", "not every"): [False, True],
        ("relevant products", "few (tail)"): [True, False],
        ("relevant products", "many (head)"): [False, True],
        ("clicks on them", "few (tail)"): [True, False],
        ("clicks on them", "many (head)"): [False, True],
    }
    without_clicks = standard_slices(queries, relevant, np.array([True, False]), np.full(2, NAN))
    assert not any(part.mask_Q.any() for part in without_clicks if part.group == "clicks on them")
