"""What full_run refuses before the first job runs, and its help."""

from __future__ import annotations

from pathlib import Path

import pytest

from intarsia.errors import ConfigError
from pipelines.full_run import main as full_run
from pipelines.full_run import run_all
from pipelines.jobs import JOB_NAMES

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(
    path
    for path in (*ROOT.glob("pipelines/configs/*.yaml"), *ROOT.glob("examples/*/*.yaml"))
    if "\nlake:" in path.read_text()
)


def test_full_run_refuses_a_group_that_is_no_job(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text("lake: lake/shop\nweave_cloth: {times: 2}\n")
    with pytest.raises(
        ConfigError, match=r"unknown group weave_cloth in .*shop\.yaml .*; known: generate_market, .*session"
    ):
        run_all(file, [])
    file.write_text("lake: lake/shop\n")
    with pytest.raises(ConfigError, match=r"unknown group embed_product in .*; did you mean embed_products\?"):
        run_all(file, ["embed_product.num_workers=4"])


def test_until_names_a_job_of_the_config_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("lake: lake\ngenerate_market:\ningest_catalog:\n")
    with pytest.raises(ConfigError, match=r"--until train_ranker: .* it has generate_market, ingest_catalog"):
        run_all(path, [], until="train_ranker")


def test_a_wrong_setting_of_any_job_is_reported_before_the_first_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"lake: {tmp_path}/lake\ngenerate_market:\npromote_release:\n")
    assert full_run(["--config", str(path), "promote_release.too=previous"]) == 1
    printed = capsys.readouterr()
    assert "unknown setting promote_release.too; did you mean to?" in printed.err
    assert printed.out == ""
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_of_a_shipped_config_is_known(path: Path) -> None:
    assert len(SHIPPED) > 8
    last_setting = r"unknown setting promote_release\.too"  # it is checked after all others
    with pytest.raises(ConfigError, match=last_setting):
        run_all(path, ["promote_release.too=previous"])


@pytest.mark.parametrize("flag", ["--help", "--help-all"])
def test_the_help_of_full_run_lists_the_jobs_and_their_settings(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        full_run([flag])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert ", ".join(JOB_NAMES) in text
    for words in ("--force", "--until", "lake: Path (required)", "Settings of train_ranker:"):
        assert words in text
