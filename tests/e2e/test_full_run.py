"""From a raw market to a live release, by the commands of the README.

The run is killed, continued on a cluster by `ray job submit`, repeated, changed to make a second release, and rolled
back.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import unnamed_colours
from intarsia.lake import Lake
from intarsia.release.bundle import verify
from intarsia.release.pointer import Pointer
from tests.e2e.head import running_head, submit
from tests.e2e.line import CONFIG, JOBS, ROOT, command, environment, run
from tests.killed_process import kill_session

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A lake whose run was killed during embed_products, and the output of the submitted run that continued it."""
    folder = tmp_path_factory.mktemp("line")
    lake = folder / "lake"
    with subprocess.Popen(
        command(lake),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as started:
        assert started.stdout is not None
        for line in started.stdout:
            if line.startswith("embed_products") and "running" in line:
                break
        kill_session(started)
    entry = command(lake, config=CONFIG.relative_to(ROOT))  # relative: read from the copy that is sent to the cluster
    with running_head() as head:
        return lake, submit(head, entry, cwd=folder)


def test_a_killed_run_continues_when_it_is_submitted_to_a_cluster(stopped: tuple[Path, str]) -> None:
    lake, printed = stopped
    assert "succeeded" in printed
    for name in ("generate_market", "ingest_catalog", "ingest_events", "ingest_judgments"):
        assert f"{name:<24} up to date" in printed
    for name in JOBS[4:]:
        assert f"{name:<24} done in" in printed
    live = Pointer(lake / "releases").live()
    assert live is not None
    assert verify(lake / "releases" / live).num_products > 0


def test_every_job_writes_its_record(stopped: tuple[Path, str]) -> None:
    lake, _ = stopped
    for name in JOBS:
        record = json.loads((lake / "runs" / f"{name}.json").read_text(encoding="utf-8"))
        assert set(record) >= {"inputs", "config", "config_values", "counts", "duration_s", "outputs", "code"}


def test_the_rejects_and_the_products_add_up_to_the_input(stopped: tuple[Path, str]) -> None:
    lake, _ = stopped
    counts = json.loads((lake / "runs" / "ingest_catalog.json").read_text(encoding="utf-8"))["counts"]
    market = Lake(lake).current("market").path
    num_rows = sum(1 for line in (market / "products.jsonl").read_bytes().split(b"\n") if line.strip())
    assert counts["rows"] == counts["products"] + counts["dropped"] == num_rows
    assert counts["dropped"] > 0


def test_a_second_run_from_another_folder_has_nothing_to_do(stopped: tuple[Path, str], tmp_path: Path) -> None:
    printed = run(command(stopped[0]), cwd=tmp_path)
    for name in JOBS[:-1]:
        assert f"{name:<24} up to date" in printed
    assert f"1 of {len(JOBS)} jobs ran" in printed  # promote_release runs every time


def test_a_changed_setting_makes_another_release_and_it_can_be_rolled_back(
    stopped: tuple[Path, str], tmp_path: Path
) -> None:
    lake, _ = stopped
    pointer = Pointer(lake / "releases")
    first = pointer.live()
    printed = run(command(lake, "train_ranker.model.seed=7"), cwd=tmp_path, timeout_s=300)
    assert "build_training_rows      up to date" in printed
    assert "ranked minus live release" in printed
    second = pointer.live()
    assert second != first
    promote = [sys.executable, "-m", "pipelines.promote_release", "--config", str(CONFIG), f"lake={lake}"]
    run([*promote, "to=previous"], cwd=tmp_path)
    assert pointer.live() == first
    refused = run(promote, cwd=tmp_path, expect=1)
    assert f"release {second} was rolled back" in refused
    run([*promote, f"to={second}"], cwd=tmp_path)
    assert pointer.live() == second


def test_the_report_names_every_system_and_every_defect(stopped: tuple[Path, str]) -> None:
    lake, _ = stopped
    report = (Lake(lake).current("evaluation").path / "report.md").read_text(encoding="utf-8")
    for name in ("bm25", "text", "image", "aligned", "rrf", "equal weights", "fused", "ranked", "text only", "fp32"):
        assert name in report
    assert "in the catalog" in report or "stays without" in report


def test_the_report_shows_the_learning_curves(stopped: tuple[Path, str]) -> None:
    lake, _ = stopped
    report = (Lake(lake).current("evaluation").path / "report.md").read_text(encoding="utf-8")
    for line in ("| alignment | train loss | ", "| ranker | validation nDCG@10 | "):
        assert line in report


def test_colours_that_only_images_show_are_found_above_chance(
    stopped: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    unnamed_colours.main(
        ["--lake", str(stopped[0])]
    )  # its exit status is not checked: a small market has too few colours
    match = re.search(
        r"do not name their colour: (\d+); of the right colour: (\d+), by chance (\d+)", capsys.readouterr().out
    )
    assert match is not None
    shown, true, chance = map(int, match.groups())
    assert shown > true > 0 and chance > 0
