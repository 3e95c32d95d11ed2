"""The figures that stand in for a live release which this code cannot open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intarsia.ids import ProductId, QueryId, ReleaseId
from intarsia.lake import Lake
from intarsia.records.judgment import JudgedQuery, Judgment
from intarsia.release.live_comparison import Figures, judged_digest

A, B = ReleaseId("r-a"), ReleaseId("r-b")
NONE_YET = Figures(measured_by="judgments 1")
QUERY = JudgedQuery(query_id=QueryId("q"), text="red", image=b"picture", locale="en", split="test")
JUDGMENT = Judgment(query_id=QueryId("q"), product_id=ProductId("p"), grade=3)
OTHER = replace(JUDGMENT, product_id=ProductId("p2"))


def keep(lake: Lake, figures: Figures) -> None:
    with lake.publish("evaluation") as folder:
        figures.save(folder)


def test_figures_are_remembered_by_the_same_judgments_only(lake: Lake) -> None:
    assert Figures.remembered(lake, "judgments 1") == NONE_YET
    figures = NONE_YET.having(A, np.array([0.25, np.nan, 1.0]))
    keep(lake, figures)
    assert Figures.remembered(lake, "judgments 1") == figures
    assert Figures.remembered(lake, "judgments 2") == Figures(measured_by="judgments 2")


def test_an_evaluation_that_kept_none_or_whose_files_are_gone_remembers_nothing(lake: Lake) -> None:
    with lake.publish("evaluation") as folder:
        (folder / "evidence.json").write_text("{}")
    assert Figures.remembered(lake, "judgments 1") == NONE_YET
    (lake.current("evaluation").path / "evidence.json").unlink()
    lake.current("evaluation").path.rmdir()
    assert Figures.remembered(lake, "judgments 1") == NONE_YET


def test_the_figures_of_a_release_come_back_with_nan_where_a_query_has_no_positive() -> None:
    values_Q = NONE_YET.having(A, np.array([0.25, np.nan])).of(A)
    np.testing.assert_array_equal(values_Q, [0.25, np.nan])
    assert NONE_YET.of(A) is None


def test_a_release_that_is_measured_again_has_its_newer_figures_and_the_others_keep_theirs() -> None:
    figures = NONE_YET.having(A, np.array([0.1])).having(B, np.array([0.2])).having(A, np.array([0.3]))
    assert [(one.release_id, one.values) for one in figures.releases] == [(B, (0.2,)), (A, (0.3,))]


def test_of_many_releases_the_last_twenty_are_kept(lake: Lake) -> None:
    for number in range(25):
        keep(lake, Figures.remembered(lake, "judgments 1").having(ReleaseId(f"r-{-number}"), np.array([0.0])))
    kept = Figures.remembered(lake, "judgments 1").releases
    assert [one.release_id for one in kept] == [f"r-{-number}" for number in range(5, 25)]


def test_the_digest_does_not_depend_on_the_order_of_the_judgments() -> None:
    assert digest(judgments=[JUDGMENT, OTHER]) == digest(judgments=[OTHER, JUDGMENT])


@pytest.mark.parametrize(
    "changed",
    [
        {"queries": [replace(QUERY, text="blue")]},
        {"queries": [replace(QUERY, image=b"another")]},
        {"queries": [QUERY, replace(QUERY, query_id=QueryId("q2"))]},
        {"judgments": [replace(JUDGMENT, grade=2)]},
        {"judgments": [JUDGMENT, OTHER]},
        {"metric": "mrr@10"},
        {"gain": "linear"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_digest_is_another_when_anything_that_a_value_hangs_on_is_another(changed: dict[str, object]) -> None:
    assert digest(**changed) != digest()


def digest(**changed: object) -> str:
    given = {"queries": [QUERY], "judgments": [JUDGMENT], "metric": "ndcg@10", "gain": "exponential", **changed}
    return judged_digest(**given)  # type: ignore[arg-type]
