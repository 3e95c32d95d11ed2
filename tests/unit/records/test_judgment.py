from __future__ import annotations

from typing import Any

import pytest

from intarsia.ids import ProductId, QueryId
from intarsia.records.judgment import JudgedQuery, Judgment


def judgment(**changes: Any) -> Judgment:
    return Judgment(**{"query_id": QueryId("q1"), "product_id": ProductId("p1"), "grade": 3, **changes})


def judged_query(**changes: Any) -> JudgedQuery:
    defaults = {"query_id": QueryId("q1"), "text": "shoe", "image": None, "locale": "en", "split": "train"}
    return JudgedQuery(**{**defaults, **changes})


@pytest.mark.parametrize("grade", [-0.5, 3.5, float("nan"), float("inf")])
def test_a_grade_outside_the_scale_is_refused(grade: float) -> None:
    with pytest.raises(ValueError, match=rf"grade is {grade}; allowed: 0\.\.3"):
        judgment(grade=grade)


@pytest.mark.parametrize("grade", [0, 0.5, 3])
def test_a_grade_may_be_fractional(grade: float) -> None:
    assert judgment(grade=grade).grade == grade


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_judgment_without_weight_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=rf"weight is {weight}; allowed: above 0"):
        judgment(weight=weight)


def test_the_kind_follows_from_the_parts_of_the_query() -> None:
    assert judged_query().kind == "text"
    assert judged_query(image=b"x").kind == "both"
    assert judged_query(image=b"x", text=None).kind == judged_query(image=b"x", text="").kind == "image"


@pytest.mark.parametrize("changes", [{"text": None}, {"text": ""}, {"text": None, "image": b""}])
def test_a_query_without_text_and_image_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="query q1 has neither text nor image"):
        judged_query(**changes)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split of query q1 is 'dev'; allowed: train, validation, test"):
        judged_query(split="dev")
