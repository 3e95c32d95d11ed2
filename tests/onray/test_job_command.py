"""A job that needs Ray, run by its command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray

from intarsia.config import setting
from intarsia.lake import Lake
from pipelines.job import Counts, Job, JobProgress, main

pytestmark = pytest.mark.usefixtures("cluster")


@dataclass(frozen=True, slots=True, kw_only=True)
class CountConfig:
    """The last number."""

    upto: int = setting("the last number", 3)


def count(config: CountConfig, lake: Lake, progress: JobProgress) -> Counts:
    assert ray.is_initialized()
    total = sum(range(config.upto + 1))
    with lake.publish("numbers") as folder:
        (folder / "sum").write_text(str(total))
    return {"sum": total}


COUNT = Job(name="count", summary="Nothing -> numbers.", config=CountConfig, writes=("numbers",), run=count)


def test_a_job_run_by_its_command_writes_its_result_and_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("lake: here\ncount:\n")
    monkeypatch.chdir(tmp_path)
    assert main(COUNT, ["--config", "a.yaml", "upto=4"]) == 0
    lake = Lake(tmp_path / "here")
    assert (lake.current("numbers").path / "sum").read_text() == "10"
    assert json.loads((lake.root / "runs" / "count.json").read_text())["counts"] == {"sum": 10}
    printed = capsys.readouterr().out
    assert "sum 10" in printed
    assert str(tmp_path / "here" / "numbers") in printed  # an absolute path

    assert main(COUNT, ["--config", "a.yaml", "upto=4"]) == 0
    assert "up to date" in capsys.readouterr().out
