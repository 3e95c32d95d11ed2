"""How a job's settings come in from its file and its command line, and what is refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from intarsia.errors import ConfigError, DataError
from intarsia.lake import Lake
from intarsia.onray.session import SessionConfig
from pipelines.job import JobProgress, RunConfig, load_values, main, run_command, run_config
from pipelines.jobs import CHECK_NAMES, JOB_NAMES
from tests.unit.test_job import COPY, WITHOUT_RAY, CopyConfig, put, record_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A config file with the group of the job."""
    path = tmp_path / "shop.yaml"
    path.write_text("lake: lake/shop\nsession: {num_cpus: 2}\ncopy_texts: {times: 2}\nembed_products: {x: 1}\n")
    return path


def test_a_plain_override_goes_to_the_jobs_group_and_a_slash_to_the_top(file: Path) -> None:
    values = load_values(file, ["times=3", "lake=/data", "/session.num_cpus=4"], group="copy_texts")
    assert values["copy_texts"] == {"times": 3}
    assert (values["lake"], values["session"]) == ("/data", {"num_cpus": 4})


def test_the_name_of_the_jobs_group_may_stand_before_its_settings_as_in_a_whole_run(file: Path) -> None:
    assert load_values(file, ["copy_texts.times=3"], group="copy_texts")["copy_texts"] == {"times": 3}
    nested = load_values(file, ["copy_texts.copy_texts.times=3"], group="copy_texts")["copy_texts"]
    assert nested == {"times": 2, "copy_texts": {"times": 3}}, "once"


def test_overrides_of_a_whole_run_start_at_the_top(file: Path) -> None:
    values = load_values(file, ["lake=/data", "/session.num_cpus=4", "copy_texts.times=3"], group=None)
    assert (values["lake"], values["session"], values["copy_texts"]) == ("/data", {"num_cpus": 4}, {"times": 3})


def test_what_all_jobs_share_is_the_lake_and_the_session(file: Path) -> None:
    shared = run_config(load_values(file, [], group=None), file)
    assert shared == RunConfig(lake=file.parent / "lake" / "shop", session=SessionConfig(num_cpus=2))


def test_paths_start_from_the_file_that_says_them_and_those_of_overrides_from_here(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "elsewhere"
    here.mkdir()
    monkeypatch.chdir(here)
    assert run_config(load_values(file, [], group=None), file).lake == tmp_path / "lake" / "shop"
    assert run_config(load_values(file, ["lake=my/lake"], group=None), file).lake == here / "my" / "lake"
    assert run_config(load_values(file, ["lake=/data"], group=None), file).lake == Path("/data")


def test_a_file_without_lake_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="setting lake is required: folder of the tables and artefacts"):
        run_config({}, file)


def test_the_help_of_a_job_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(COPY, ["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for cls in (CopyConfig, RunConfig, SessionConfig):
        for field in fields(cls):
            assert f"{field.name}: " in shown
            assert field.metadata["help"] in shown
    assert "python -m pipelines.copy_texts" in shown
    assert "texts -> copies" in shown
    assert "Reads texts, hints; writes copies." in shown


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["tims=3"], "ConfigError: unknown setting copy_texts.tims; did you mean times?"),
        (["times=0"], "ConfigError: copy_texts: times is 0; allowed: 1 or more"),
        (["times"], "ConfigError: override 'copy_texts.times' is not key=value"),
        (["lake=3"], "ConfigError: lake is 3; allowed: a path"),
        (["/sesion.num_cpus=4"], "ConfigError: unknown group sesion in "),
        (["session.num_cpus=0"], "ConfigError: session: num_cpus is 0; allowed: 1 or more"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_status_1(
    file: Path, overrides: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(COPY, ["--config", str(file), *overrides]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(words)
    assert shown.count("\n") == 1


def test_a_group_that_no_job_has_is_refused_with_the_nearest_one(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for said, meant in (("copy_text", "copy_texts"), ("embed_product", "embed_products"), ("sesion", "session")):
        file.write_text(f"lake: lake/shop\ncopy_texts:\n{said}: {{}}\n")
        assert main(COPY, ["--config", str(file)]) == 1
        shown = capsys.readouterr().err
        assert shown == f"ConfigError: unknown group {said} in {file} or its overrides; did you mean {meant}?\n"


def test_the_groups_of_other_jobs_and_of_the_checks_are_left_to_them(file: Path) -> None:
    groups = "".join(f"{name}: {{not: looked at}}\n" for name in (*JOB_NAMES, *CHECK_NAMES))
    file.write_text(f"lake: lake/shop\n{groups}")
    put(Lake(file.parent / "lake" / "shop"), "texts", "abc")
    assert main(WITHOUT_RAY, ["--config", str(file), "times=2"]) == 0
    assert record_of(Lake(file.parent / "lake" / "shop"))["counts"]["characters"] == 6


def test_a_group_that_is_no_group_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(COPY, ["--config", str(file), "/copy_texts=3"]) == 1
    assert "copy_texts is 3; allowed: a group of settings" in capsys.readouterr().err


def test_a_command_without_its_file_has_exit_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(COPY, [])
    assert caught.value.code == 2
    assert "--config" in capsys.readouterr().err


def test_only_errors_meant_for_the_user_become_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def given_wrongly() -> None:
        raise DataError(table="t", field="f", found=1, allowed="2", fix="write 2")

    def our_own_fault() -> None:
        raise KeyError("oh")

    assert run_command(given_wrongly) == 1
    assert capsys.readouterr().err == "DataError: t: f is 1; allowed: 2. Fix: write 2\n"
    with pytest.raises(KeyError, match="oh"):
        run_command(our_own_fault)
    assert run_command(lambda: None) == 0


def test_progress_is_told_at_the_start_and_at_the_end_of_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    progress = JobProgress("embed")
    for done in range(1001):
        progress("text", done, 1000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "embed  text 1000/1000"
    assert 1 <= len(lines) <= 5
