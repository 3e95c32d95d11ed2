"""When a job runs, and the record that it writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from intarsia.config import setting
from intarsia.errors import ArtifactError, ConfigError
from intarsia.ids import sha256_tree
from intarsia.lake import Lake
from pipelines.code_digest import SourceTree
from pipelines.job import Counts, Job, JobProgress, resumable_run_dir, run_job


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyConfig:
    """How to copy."""

    times: int = setting("how often the text is repeated", 1)
    source: Path | None = setting("a file to add", None)
    separator: str = setting("text between the repetitions", "", advanced=True)

    def __post_init__(self) -> None:
        if self.times < 1:
            raise ValueError(f"times is {self.times}; allowed: 1 or more")


def copy(config: CopyConfig, lake: Lake, progress: JobProgress) -> Counts:
    text = (lake.current("texts").path / "text").read_text()
    text = config.separator.join([text] * config.times)
    if config.source:
        text += config.source.read_text()
    put(lake, "copies", text)
    return {"characters": len(text), "share": 0.5}


def files(config: CopyConfig) -> Sequence[Path]:
    return (config.source,) if config.source else ()


COPY = Job(
    name="copy_texts",
    summary="texts -> copies",
    config=CopyConfig,
    reads=("texts",),
    optional_reads=("hints",),
    files=files,
    writes=("copies",),
    run=copy,
)


WITHOUT_RAY = replace(COPY, needs_ray=False)


def put(lake: Lake, name: str, text: str) -> None:
    with lake.publish(name) as folder:
        (folder / "text").write_text(text)


def record_of(lake: Lake) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((lake.root / "runs" / "copy_texts.json").read_text())
    return record


@pytest.fixture
def ready(lake: Lake) -> Lake:
    """A lake with the job's input, in which the job ran once with its defaults."""
    put(lake, "texts", "abc")
    assert run_job(COPY, CopyConfig(), lake)
    return lake


def test_the_record_of_a_job_names_its_inputs_config_and_outputs(
    lake: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    put(lake, "texts", "abc")
    assert run_job(COPY, CopyConfig(times=2), lake)
    record = record_of(lake)
    assert (record["job"], record["counts"]) == ("copy_texts", {"characters": 6, "share": 0.5})
    assert record["inputs"] == {"texts": lake.current("texts").digest}
    assert record["outputs"] == {"copies": lake.current("copies").digest}
    assert record["config_values"] == {"times": 2, "source": None, "separator": ""}
    assert record["duration_s"] >= 0
    printed = capsys.readouterr().out
    assert "copy_texts               running" in printed
    assert "characters 6, share 0.5" in printed
    assert f"copies -> {lake.current('copies').path}" in printed


def test_a_job_whose_inputs_and_config_are_the_same_is_up_to_date(
    ready: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not run_job(COPY, CopyConfig(), ready)
    assert capsys.readouterr().out.endswith("copy_texts               up to date\n")


def change_input(lake: Lake) -> None:
    put(lake, "texts", "abcd")


def add_hint(lake: Lake) -> None:
    put(lake, "hints", "h")


def replace_output(lake: Lake) -> None:
    put(lake, "copies", "something else")


def lose_output(lake: Lake) -> None:
    folder = lake.current("copies").path
    (folder / "text").unlink()
    folder.rmdir()


def lose_record(lake: Lake) -> None:
    (lake.root / "runs" / "copy_texts.json").unlink()


def change_code(lake: Lake) -> None:
    path = lake.root / "runs" / "copy_texts.json"
    path.write_text(json.dumps({**record_of(lake), "code": "of another version"}))


@pytest.mark.parametrize(
    "change", [change_input, add_hint, replace_output, lose_output, lose_record, change_code], ids=lambda f: f.__name__
)
def test_a_job_runs_again_when_its_inputs_outputs_or_code_changed(ready: Lake, change: Callable[[Lake], None]) -> None:
    change(ready)
    assert run_job(COPY, CopyConfig(), ready)
    assert not run_job(COPY, CopyConfig(), ready)


def test_a_job_runs_again_for_another_config_or_with_force(ready: Lake) -> None:
    assert run_job(COPY, CopyConfig(times=2), ready)
    assert run_job(COPY, CopyConfig(times=2), ready, force=True)
    assert not run_job(COPY, CopyConfig(times=2), ready)


def test_a_job_that_writes_another_entry_than_before_runs_again(ready: Lake) -> None:
    put(ready, "extra", "x")
    assert run_job(replace(COPY, writes=("extra", "copies")), CopyConfig(), ready)


def test_ray_is_started_for_a_job_that_needs_it_when_it_runs(lake: Lake) -> None:
    put(lake, "texts", "abc")
    starts: list[str] = []
    run_job(WITHOUT_RAY, CopyConfig(), lake, start_ray=lambda: starts.append("not needed"))
    run_job(COPY, CopyConfig(), lake, start_ray=lambda: starts.append("up to date"))
    run_job(COPY, CopyConfig(times=2), lake, start_ray=lambda: starts.append("needed"))
    assert starts == ["needed"]


def test_a_job_whose_outputs_outside_the_lake_are_gone_runs_again(ready: Lake) -> None:
    outside = ready.root / "outside"

    def run(config: CopyConfig, lake: Lake, progress: JobProgress) -> Counts:
        outside.touch()
        return copy(config, lake, progress)

    job = replace(COPY, run=run, outputs_intact=lambda lake: outside.exists())
    assert run_job(job, CopyConfig(), ready)
    assert not run_job(job, CopyConfig(), ready)
    outside.unlink()
    assert run_job(job, CopyConfig(), ready)


def test_a_job_marked_always_runs_every_time(ready: Lake) -> None:
    assert run_job(replace(COPY, always=True), CopyConfig(), ready)


def test_an_input_published_again_with_equal_content_is_unchanged(ready: Lake) -> None:
    put(ready, "texts", "abc")
    assert not run_job(COPY, CopyConfig(), ready)


def test_the_content_of_a_file_outside_the_lake_is_an_input(ready: Lake, tmp_path: Path) -> None:
    source = tmp_path / "more"
    source.write_text("x")
    config = CopyConfig(source=source)
    assert run_job(COPY, config, ready)
    assert record_of(ready)["inputs"]["file 0, more"] == sha256_tree(source)
    assert not run_job(COPY, config, ready)
    source.write_text("y")
    assert run_job(COPY, config, ready)


def test_a_missing_file_is_reported_before_the_job_runs(ready: Lake, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"copy_texts reads .*none, which does not exist; correct the path"):
        run_job(COPY, CopyConfig(source=tmp_path / "none"), ready)


def test_a_missing_input_is_reported_before_the_job_runs(lake: Lake) -> None:
    with pytest.raises(ArtifactError, match=r"texts is not in the lake .*; run the job that makes it"):
        run_job(COPY, CopyConfig(), lake)
    assert not (lake.root / "runs").exists()


def test_a_job_that_failed_after_publishing_runs_again(ready: Lake) -> None:
    def fails(config: CopyConfig, lake: Lake, progress: JobProgress) -> Counts:
        put(lake, "copies", "half")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run_job(replace(COPY, run=fails), CopyConfig(), ready, force=True)
    assert run_job(COPY, CopyConfig(), ready)


def test_a_job_that_does_not_write_all_its_entries_leaves_no_record(lake: Lake) -> None:
    put(lake, "texts", "abc")
    with pytest.raises(ArtifactError, match="more is not in the lake"):
        run_job(replace(COPY, writes=("more", "copies")), CopyConfig(), lake)
    assert not (lake.root / "runs" / "copy_texts.json").exists()


def interrupt_after(step: str, lake: Lake) -> str | None:
    """Start the resumable run of COPY, write `step`, and die; returns the step that the run before had written."""
    with suppress(InterruptedError), resumable_run_dir(COPY, CopyConfig(), lake) as folder:
        file = folder / "step"
        before = file.read_text() if file.exists() else None
        file.write_text(step)
        raise InterruptedError
    return before


def test_an_interrupted_run_continues_unless_the_code_changed(ready: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    assert interrupt_after("1", ready) is None
    assert interrupt_after("2", ready) == "1"
    monkeypatch.setattr(SourceTree, "digest_of", lambda tree, file: "of another version")
    assert interrupt_after("3", ready) is None
    assert len(list(ready.root.glob(".copy_texts-*"))) == 1, "the folder of the older code is removed"


@pytest.mark.parametrize("content", ["", '{"outputs": {', "[]", "null", "{}", b"\xff".decode("latin-1")])
def test_a_job_with_an_unreadable_record_runs_again(
    ready: Lake, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (ready.root / "runs" / "copy_texts.json").write_text(content, encoding="latin-1")
    assert run_job(COPY, CopyConfig(), ready)
    assert "job_record_unreadable job=copy_texts" in caplog.text
    assert not run_job(COPY, CopyConfig(), ready)


def test_a_job_with_a_record_of_version_0_1_runs_again(ready: Lake) -> None:
    record = record_of(ready)
    del record["code"]
    (ready.root / "runs" / "copy_texts.json").write_text(json.dumps({**record, "version": "0.1.0"}))
    assert run_job(COPY, CopyConfig(), ready)
