from __future__ import annotations

import numpy as np

from intarsia.evaluation.qrels import Qrels
from intarsia.evaluation.slices import (
    relevant_mean,
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
    found = slices_by_value("locale", ["zh", "en", "zh"])
    assert [(one.group, one.name, one.mask_Q.tolist()) for one in found] == [
        ("locale", "en", [False, True, False]),
        ("locale", "zh", [True, False, True]),
    ]


def test_what_is_unknown_is_in_no_slice() -> None:
    share = slices_by_share("pictures", np.array([1.0, 0.5, NAN]), all_have="all", some_lack="not all")
    assert [one.mask_Q.tolist() for one in share] == [[True, False, False], [False, True, False]]
    halves = slices_at_median("popularity", np.array([1.0, 9.0, NAN, 2.0]), low="tail", high="head")
    assert [one.mask_Q.tolist() for one in halves] == [[True, False, False, True], [False, True, False, False]]
    nothing = slices_at_median("popularity", np.array([NAN]), low="tail", high="head")
    assert [one.mask_Q.tolist() for one in nothing] == [[False], [False]]


def test_means_are_over_relevant_products_of_the_catalog() -> None:
    found = [qrels([-1, 0, 2], [3.0, 0.0, 1.0]), qrels([0, 1], [1.0, 2.0]), qrels([0], [0.0])]
    means_Q = relevant_mean(found, np.array([10.0, 20.0, 40.0]))
    assert means_Q[:2].tolist() == [40.0, 15.0]
    assert np.isnan(means_Q[2])


def test_the_standard_slices_cover_language_kind_images_and_head() -> None:
    queries = [
        JudgedQuery(query_id=QueryId("q1"), text="鞋", image=None, locale="zh", split="test"),
        JudgedQuery(query_id=QueryId("q2"), text="shoe", image=b"png", locale="en", split="test"),
    ]
    relevant = [qrels([0], [1.0]), qrels([0, 1], [1.0, 1.0])]
    found = standard_slices(queries, relevant, np.array([True, False]), np.array([3.0, 8.0]))
    masks = {(one.group, one.name): one.mask_Q.tolist() for one in found}
    assert masks == {
        ("locale", "en"): [False, True],
        ("locale", "zh"): [True, False],
        ("query", "both"): [False, True],
        ("query", "text"): [True, False],
        ("pictures", "every relevant product"): [True, False],
        ("pictures", "not every"): [False, True],
        ("relevant products", "few (tail)"): [True, False],
        ("relevant products", "many (head)"): [False, True],
        ("clicks on them", "few (tail)"): [True, False],
        ("clicks on them", "many (head)"): [False, True],
    }
    unwatched = standard_slices(queries, relevant, np.array([True, False]), np.full(2, NAN))
    assert not any(one.mask_Q.any() for one in unwatched if one.group == "clicks on them")
