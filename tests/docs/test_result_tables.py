"""Benchmark commands write their rows into the result tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.result_tables import interval_cell, write_rows
from benchmarks.search_quality import main, missing_images_row, quality_row
from intarsia.errors import ConfigError
from intarsia.evaluation.significance import Interval
from intarsia.lake import Lake, write_json
from tests.docs.pages import DOCS, load_generator


def mean(value: float, low: float = 0.0, high: float = 0.0) -> dict[str, float]:
    return {"mean": value, "low": low, "high": high, "num_queries": 9}


EVALUATION: dict[str, Any] = {
    "headline": "ndcg@10",
    "systems": {
        "bm25": {"ndcg@10": mean(0.5), "coverage": 0.1},
        "text": {"ndcg@10": mean(0.4), "coverage": 0.1},
        "fused": {"ndcg@10": mean(0.6, 0.5, 0.7), "coverage": 0.1},
        "ranked": {"ndcg@10": mean(0.7, 0.6, 0.8), "coverage": 0.1},
        "ranked, 25% of images missing": {"ndcg@10": mean(0.65), "coverage": 0.1},
        "fused, 25% of images missing": {"ndcg@10": mean(0.55), "coverage": 0.1},
    },
    "comparisons": [
        {"system": "ranked", "baseline": "bm25", **mean(0.2)},
        {"system": "ranked", "baseline": "fused", **mean(0.1, 0.05, 0.15)},
    ],
}


def test_a_lake_gives_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = Lake(tmp_path / "lake")
    with lake.publish("evaluation") as folder:
        write_json(folder / "evaluation.json", EVALUATION)
    for name in ("search_quality", "missing_images"):
        shutil.copy(DOCS / "results" / f"{name}.json", tmp_path)
    quality, missing = tmp_path / "search_quality.json", tmp_path / "missing_images.json"
    num_before = len(json.loads(quality.read_text())["rows"])
    arguments = ["--lake", str(lake.root), "--name", "new", "--json", str(quality), "--missing-json", str(missing)]
    assert main(arguments) == 0
    assert main(arguments) == 0, "the second time it replaces its row"
    rows = json.loads(quality.read_text())["rows"]
    assert len(rows) == num_before + 1
    assert rows[-1]["bm25"] == 0.5
    assert rows[-1]["gain"] == {"value": 0.1, "low": 0.05, "high": 0.15}
    assert rows[-1]["measured"]["machine"]
    assert json.loads(missing.read_text())["rows"][-1]["25"] == 0.65
    assert "new" in capsys.readouterr().out


def test_rows_have_the_columns_of_their_tables() -> None:
    generator = load_generator()
    for name, row in (
        ("search_quality", quality_row(EVALUATION, "x", "y")),
        ("missing_images", missing_images_row(EVALUATION, "x")),
    ):
        assert set(row) <= {column["name"] for column in generator.read_table(name)["columns"]}


def test_an_evaluation_without_images_has_no_missing_row() -> None:
    systems = {name: row for name, row in EVALUATION["systems"].items() if "missing" not in name}
    assert missing_images_row({**EVALUATION, "systems": systems}, "x") == {"name": "x"}


def test_a_lake_without_an_evaluation_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lake", str(tmp_path), "--name", "x"]) == 1
    assert "evaluation" in capsys.readouterr().err


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist\. Fix: name a table"):
        write_rows(tmp_path / "none.json", [])


def test_a_cell_without_a_column_is_refused(tmp_path: Path) -> None:
    shutil.copy(DOCS / "results" / "ingest_memory.json", tmp_path)
    with pytest.raises(ConfigError, match="has no column speed; known: name, ratio"):
        write_rows(tmp_path / "ingest_memory.json", [{"name": "x", "speed": 1.0}])


def test_rows_replace_a_table_without_merge(tmp_path: Path) -> None:
    path = Path(shutil.copy(DOCS / "results" / "ingest_memory.json", tmp_path))
    write_rows(path, [{"name": "x", "ratio": 2.0}])
    table = json.loads(path.read_text())
    assert table["rows"] == [{"name": "x", "ratio": 2.0}]
    assert table["measured"]["date"] != "2026-11"


def test_cells_are_rendered_by_their_column() -> None:
    cell = load_generator()._cell
    gain = {"name": "gain", "format": "{:+.2f}", "difference": True}
    assert cell(interval_cell(Interval(mean=0.1, low=-0.1, high=0.3, num_queries=5)), gain) == (
        "+0.10 [-0.10, +0.30], no difference"
    )
    assert cell({"value": 0.1, "low": 0.05, "high": 0.2}, gain) == "+0.10 [+0.05, +0.20]"
    assert (
        cell({"value": 0.05, "signed": True, "verdict": "better", "chosen": True}, {"format": "{:.2f}"})
        == "**+0.05** ←"
    )
    assert cell({"value": -0.05, "signed": True, "verdict": "worse"}, {"format": "{:.2f}"}) == "*-0.05*"
    assert cell(1234.0, {"format": "{:,.0f} ms"}) == "1,234 ms"
    assert cell(None, {}) == "–"
    assert cell("a.yaml", {"code": True}) == "`a.yaml`"
