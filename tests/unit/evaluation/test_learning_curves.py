"""A report shows every line of the learning curves in a table and in a plot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intarsia.evaluation import plots
from intarsia.evaluation.evaluate import EvaluationConfig, evaluate_systems
from intarsia.evaluation.learning_curves import LearningCurve, LearningCurveRow, best_point, learning_curve_rows
from intarsia.evaluation.qrels import Qrels
from intarsia.evaluation.report import EvaluationReport, EvaluationSetting, write_report

TOWER = LearningCurve(
    part="text tower",
    loss=((1, 4.0), (2, 3.0), (3, 3.5)),
    figures={"validation nDCG@10": ((2, 0.5), (3, 0.25))},
    kept_at=2,
)
RANKER = LearningCurve(part="ranker", unit="tree", figures={"validation nDCG@10": ((1, 0.5), (2, 0.75), (3, 0.75))})


@pytest.fixture
def report() -> EvaluationReport:
    evaluation = evaluate_systems(
        {"bm25": [np.array([0], np.int64)]},
        [Qrels(rows_J=np.array([0], np.int64), grades_J=np.array([1.0]))],
        pairs=[],
        slices=[],
        num_products=1,
        config=EvaluationConfig(num_resamples=10),
    )
    setting = EvaluationSetting(
        data_set="shop", split="test", num_products=1, depth=9, commands=("python -m pipelines",)
    )
    return EvaluationReport(title="A small shop", setting=setting, evaluation=evaluation)


def test_a_row_has_the_first_last_and_best_value_of_a_line() -> None:
    loss, metric = learning_curve_rows([TOWER])
    assert loss == LearningCurveRow(
        part="text tower", line="train loss", length="3 steps", first=4.0, last=3.5, best=3.0, best_at=2, kept_at=2
    )
    assert (metric.line, metric.first, metric.last) == ("validation nDCG@10", 0.5, 0.25)
    assert (metric.best, metric.best_at) == (0.5, 2)


def test_of_equally_good_steps_the_first_is_the_best() -> None:
    (row,) = learning_curve_rows([RANKER])
    assert (row.best, row.best_at, row.length) == (0.75, 2, "3 trees")
    assert best_point(((4, 0.1), (8, 0.2), (12, 0.2))) == (8, 0.2)


def test_the_length_has_a_unit_and_thousands_separators() -> None:
    one, many = LearningCurve(part="a", loss=((1, 4.0),)), LearningCurve(part="b", loss=((1, 4.0), (12_000, 1.0)))
    assert [row.length for row in learning_curve_rows([one, many])] == ["1 step", "12,000 steps"]


def test_the_report_has_a_row_per_line_and_a_panel_per_part(report: EvaluationReport, tmp_path: Path) -> None:
    markdown, page = write_report(replace(report, learning_curves=(TOWER, RANKER)), tmp_path)
    text = markdown.read_text(encoding="utf-8")
    assert "## Learning curves" in text
    assert "| text tower | train loss | 3 steps | 4.000 | 3.500 | 3.000 | 2 | 2 |" in text
    assert "| text tower | validation nDCG@10 | 3 steps | 0.500 | 0.250 | 0.500 | 2 | 2 |" in text
    assert "| ranker | validation nDCG@10 | 3 trees | 0.500 | 0.750 | 0.750 | 2 | – |" in text
    html = page.read_text(encoding="utf-8")
    assert html.count("<svg") == 2
    for words in ("<h2>Learning curves</h2>", ">text tower</text>", ">train loss</text>", ">kept: step 2</text>"):
        assert words in html
    assert "kept: tree" not in html  # not recorded
    assert html.count("<td>text tower</td>") == 2


def test_without_curves_there_is_no_section(report: EvaluationReport, tmp_path: Path) -> None:
    for path in write_report(report, tmp_path):
        assert "earning curves" not in path.read_text(encoding="utf-8")


def test_the_same_curves_give_the_same_bytes(report: EvaluationReport, tmp_path: Path) -> None:
    with_curves = replace(report, learning_curves=(TOWER, RANKER))
    first = [path.read_bytes() for path in write_report(with_curves, tmp_path / "a")]
    assert [path.read_bytes() for path in write_report(with_curves, tmp_path / "b")] == first


@pytest.mark.parametrize("num_parts", [1, 3, 4])
def test_any_number_of_parts_can_be_plotted(num_parts: int) -> None:
    fold = LearningCurve(part="folds/0", loss=((1, 2.0),))  # a fold has no held-out metric
    parts = [replace(fold, part=f"folds/{number}") for number in range(num_parts)]
    svg = plots.learning_curves(parts)
    assert [f">folds/{number}</text>" in svg for number in range(5)] == [number < num_parts for number in range(5)]
