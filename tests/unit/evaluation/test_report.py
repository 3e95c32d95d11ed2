from __future__ import annotations

import dataclasses
import itertools
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from intarsia.evaluation import plots
from intarsia.evaluation.evaluate import EvaluationConfig, evaluate_systems
from intarsia.evaluation.qrels import Qrels
from intarsia.evaluation.report import (
    EvaluationReport,
    EvaluationSetting,
    FusionTrialRow,
    MissingImagesResult,
    write_report,
)
from intarsia.evaluation.significance import Interval, PairedDifference
from intarsia.evaluation.slices import slices_by_value

_VOID = {"meta", "link", "br", "img", "input", "use", "path"}


class Tags(HTMLParser):
    """Unclosed tags, external references, and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.external: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.external += [
            str(value) for name, value in attrs if name in ("src", "href") and not str(value).startswith("#")
        ]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture
def report() -> EvaluationReport:
    """Fused is better than bm25 and equal to a copy; one slice has no relevant product."""
    qrels = [Qrels(rows_J=np.array([q], np.int64), grades_J=np.array([float(q > 3)])) for q in range(40)]
    fused = [np.array([q, 48], np.int64) for q in range(40)]
    bm25 = [np.array([48, q], np.int64) for q in range(40)]
    evaluation = evaluate_systems(
        {"fused": fused, "bm25 <k1 | b>": bm25, "copy": fused},
        qrels,
        pairs=[("fused", "bm25 <k1 | b>"), ("fused", "copy")],
        slices=slices_by_value("locale", ["none"] * 4 + ["zh"] * 36),
        num_products=50,
        config=EvaluationConfig(metrics=("ndcg@10", "mrr@10"), num_resamples=200),
    )
    return EvaluationReport(
        title="A small shop",
        summary="Fused is better.",
        setting=EvaluationSetting(
            data_set="shop", split="test", num_products=50, depth=100, commands=("python -m pipelines",)
        ),
        evaluation=evaluation,
        fusion_trials=(
            FusionTrialRow(number=0, kind="", score=None, error="ValueError: a | b"),
            FusionTrialRow(number=1, kind="gated", settings="defaults", score=0.7, stopped=True),
            FusionTrialRow(number=2, kind="rrf", settings="k 60.0", score=0.4),
            FusionTrialRow(number=3, kind="convex", settings="z", score=0.6),
        ),
        fusion_choice="Chosen: trial 1 (convex), best on validation.",
        importances={"text_score": 0.75, "price_log": 0.25},
        notes=("Unjudged products count 0.",),
        defects=("3 products have the same title.",),
    )


def test_the_markdown_has_every_table_with_intervals_and_verdicts(report: EvaluationReport, tmp_path: Path) -> None:
    text = write_report(report, tmp_path)[0].read_text(encoding="utf-8")
    assert "| fused | **1.000 [1.000, 1.000]** | **1.000 [1.000, 1.000]** | 82.0% |" in text
    assert r"| fused | bm25 <k1 \| b> | +0.369 [+0.369, +0.369] | < 0.001 | better |" in text
    assert "| fused | copy | +0.000 [+0.000, +0.000] | 1.000 | no difference |" in text
    assert "| locale: none | 4 | – | – | – | – |" in text
    assert "4 queries have no relevant product" in text
    assert "| text_score | 75.0% |" in text
    assert "- 3 products have the same title." in text
    assert "Chosen: trial 1 (convex), best on validation." in text
    assert "- Unjudged products count 0." in text
    assert "python -m pipelines" in text


def test_every_row_of_a_markdown_table_has_the_same_number_of_cells(report: EvaluationReport, tmp_path: Path) -> None:
    lines = write_report(report, tmp_path)[0].read_text(encoding="utf-8").replace(r"\|", "").splitlines()
    for above, line in itertools.pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert above.count("|") == line.count("|"), line
    assert sum(line.startswith("|---") for line in lines) == 5


def test_trials_are_ordered_best_stopped_failed(report: EvaluationReport, tmp_path: Path) -> None:
    markdown, page = write_report(report, tmp_path)
    rows = [
        "| 3 | convex | z | 0.600 | done |",
        "| 2 | rrf | k 60.0 | 0.400 | done |",
        "| 1 | gated | defaults | 0.700 | stopped early |",
        r"| 0 | – |  | – | failed: ValueError: a \| b |",
    ]
    assert "\n".join(rows) in markdown.read_text(encoding="utf-8")
    words = [word.strip() for word in Tags(page.read_text(encoding="utf-8")).words if word.strip()]
    places = [words.index(state) for state in ("done", "stopped early", "failed: ValueError: a | b")]
    assert places == sorted(places)


def test_of_many_trials_the_best_are_shown_and_the_rest_counted(report: EvaluationReport, tmp_path: Path) -> None:
    many = tuple(FusionTrialRow(number=n, kind="convex", settings="z", score=n / 1000) for n in range(230))
    for path in write_report(dataclasses.replace(report, fusion_trials=many), tmp_path):
        text = path.read_text(encoding="utf-8")
        assert "30 more trials are in" in text
        assert ("0.229" in text, "0.030" in text, "0.029" in text) == (True, True, False)


def test_missing_images_are_a_table_of_both_comparisons(report: EvaluationReport, tmp_path: Path) -> None:
    value = Interval(mean=0.5, low=0.4, high=0.6, num_queries=9)
    gain = PairedDifference(difference=Interval(mean=0.2, low=0.1, high=0.3, num_queries=9))
    loss = PairedDifference(difference=Interval(mean=-0.2, low=-0.3, high=-0.1, num_queries=9))
    rows = (
        MissingImagesResult(share=0.0, ranked=value, minus_none=gain, fused=value, minus_text_only=loss),
        MissingImagesResult(share=0.75, ranked=value, minus_none=gain, fused=value, minus_text_only=None),
    )
    markdown, page = write_report(dataclasses.replace(report, missing_images=rows), tmp_path)
    text = markdown.read_text(encoding="utf-8")
    ranked = "0.500 [0.400, 0.600] | +0.200 [+0.100, +0.300] better"
    fused = "0.500 [0.400, 0.600]"
    assert f"| 0 % | {ranked} | {fused} | -0.200 [-0.300, -0.100] worse |" in text
    assert f"| 75 % | {ranked} | {fused} | – |" in text
    tags = Tags(page.read_text(encoding="utf-8"))
    assert tags.open == []
    assert {"75 %", "-0.200", "-0.300 to -0.100", "worse"} <= set(tags.words)


def test_the_page_is_valid_and_has_no_external_reference(report: EvaluationReport, tmp_path: Path) -> None:
    page = Tags(write_report(report, tmp_path)[1].read_text(encoding="utf-8"))
    assert page.open == []
    assert page.external == []
    words = " ".join(page.words)
    assert "bm25 <k1 | b>" in words
    assert "no difference" in words
    assert "3 products have the same title." in words
    assert "Chosen: trial 1 (convex), best on validation." in words


def test_the_page_has_five_plots(report: EvaluationReport, tmp_path: Path) -> None:
    assert write_report(report, tmp_path)[1].read_text(encoding="utf-8").count("<svg") == 5


def test_every_kind_of_fusion_is_plotted_however_many_there_are() -> None:
    kinds = [f"kind_{number}" for number in range(12)]
    svg = plots.trials([(number, kind, 0.5) for number, kind in enumerate(kinds)])
    assert all(f">{kind}<" in svg for kind in kinds)


def test_the_same_report_gives_the_same_bytes(report: EvaluationReport, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_report(report, tmp_path / "a")]
    assert [path.read_bytes() for path in write_report(report, tmp_path / "b")] == first


def test_a_report_of_one_system_can_be_written(report: EvaluationReport, tmp_path: Path) -> None:
    qrels = [Qrels(rows_J=np.array([0], np.int64), grades_J=np.array([1.0]))]
    single = evaluate_systems(
        {"bm25": [np.array([0], np.int64)]},
        qrels,
        pairs=[],
        slices=[],
        num_products=1,
        config=EvaluationConfig(num_resamples=10),
    )
    one_system = EvaluationReport(title="One", setting=report.setting, evaluation=single)
    markdown, page = write_report(one_system, tmp_path)
    assert "## Comparisons" not in markdown.read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").count("<svg") == 1
