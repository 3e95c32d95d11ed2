"""The saved figures of releases, for a live release that cannot be opened."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intarsia.ids import ProductId, QueryId, ReleaseId
from intarsia.lake import Lake
from intarsia.records.judgment import JudgedQuery, Judgment
from intarsia.release.live_comparison import ReleaseFigures, judged_digest

A, B = ReleaseId("r-a"), ReleaseId("r-b")
EMPTY = ReleaseFigures(measured_by="judgments 1")
QUERY = JudgedQuery(query_id=QueryId("q"), text="red", image=b"image", locale="en", split="test")
JUDGMENT = Judgment(query_id=QueryId("q"), product_id=ProductId("p"), grade=3)
OTHER = replace(JUDGMENT, product_id=ProductId("p2"))


def keep(lake: Lake, figures: ReleaseFigures) -> None:
    with lake.publish("evaluation") as folder:
        figures.save(folder)


def test_figures_of_other_judgments_are_not_read(lake: Lake) -> None:
    assert ReleaseFigures.read(lake, "judgments 1") == EMPTY
    figures = EMPTY.with_release(A, np.array([0.25, np.nan, 1.0]))
    keep(lake, figures)
    assert ReleaseFigures.read(lake, "judgments 1") == figures
    assert ReleaseFigures.read(lake, "judgments 2") == ReleaseFigures(measured_by="judgments 2")


def test_an_evaluation_without_figures_gives_none(lake: Lake) -> None:
    with lake.publish("evaluation") as folder:
        (folder / "evidence.json").write_text("{}")
    assert ReleaseFigures.read(lake, "judgments 1") == EMPTY
    (lake.current("evaluation").path / "evidence.json").unlink()
    lake.current("evaluation").path.rmdir()
    assert ReleaseFigures.read(lake, "judgments 1") == EMPTY


def test_a_query_without_relevant_product_is_nan() -> None:
    values_Q = EMPTY.with_release(A, np.array([0.25, np.nan])).of(A)
    np.testing.assert_array_equal(values_Q, [0.25, np.nan])
    assert EMPTY.of(A) is None


def test_a_release_measured_again_has_its_newest_figures() -> None:
    figures = EMPTY.with_release(A, np.array([0.1])).with_release(B, np.array([0.2])).with_release(A, np.array([0.3]))
    assert [(release.release_id, release.values) for release in figures.releases] == [(B, (0.2,)), (A, (0.3,))]


def test_the_last_twenty_releases_are_kept(lake: Lake) -> None:
    for number in range(25):
        keep(lake, ReleaseFigures.read(lake, "judgments 1").with_release(ReleaseId(f"r-{-number}"), np.array([0.0])))
    kept = ReleaseFigures.read(lake, "judgments 1").releases
    assert [release.release_id for release in kept] == [f"r-{-number}" for number in range(5, 25)]


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
def test_the_digest_depends_on_everything_that_decides_a_value(changed: dict[str, object]) -> None:
    assert digest(**changed) != digest()


def digest(**changed: object) -> str:
    arguments = {"queries": [QUERY], "judgments": [JUDGMENT], "metric": "ndcg@10", "gain": "exponential", **changed}
    return judged_digest(**arguments)  # type: ignore[arg-type]
