"""How a job reads its settings from its config file and its command line, and which it refuses."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from intarsia.errors import ConfigError, DataError
from intarsia.lake import Lake
from intarsia.onray.session import SessionConfig
from pipelines.job import JobProgress, RunConfig, command_line, load_values, main, run_command, run_config
from pipelines.jobs import CHECK_NAMES, JOB_NAMES
from tests.unit.test_job import COPY, WITHOUT_RAY, CopyConfig, put, record_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A config file with the group of the job."""
    path = tmp_path / "shop.yaml"
    path.write_text("lake: lake/shop\nsession: {num_cpus: 2}\ncopy_texts: {times: 2}\nembed_products: {x: 1}\n")
    return path


def test_an_override_goes_to_the_jobs_group_or_after_a_slash_to_the_top(file: Path) -> None:
    values = load_values(file, ["times=3", "lake=/data", "/session.num_cpus=4"], group="copy_texts")
    assert values["copy_texts"] == {"times": 3}
    assert (values["lake"], values["session"]) == ("/data", {"num_cpus": 4})


def test_an_override_may_start_with_the_name_of_the_jobs_group(file: Path) -> None:
    assert load_values(file, ["copy_texts.times=3"], group="copy_texts")["copy_texts"] == {"times": 3}
    nested = load_values(file, ["copy_texts.copy_texts.times=3"], group="copy_texts")["copy_texts"]
    assert nested == {"times": 2, "copy_texts": {"times": 3}}, "once"


def test_overrides_of_full_run_start_at_the_top(file: Path) -> None:
    values = load_values(file, ["lake=/data", "/session.num_cpus=4", "copy_texts.times=3"], group=None)
    assert (values["lake"], values["session"], values["copy_texts"]) == ("/data", {"num_cpus": 4}, {"times": 3})


def test_all_jobs_share_the_lake_and_the_session(file: Path) -> None:
    shared = run_config(load_values(file, [], group=None), file)
    assert shared == RunConfig(lake=file.parent / "lake" / "shop", session=SessionConfig(num_cpus=2))


def test_paths_start_from_the_config_file_or_for_overrides_from_the_cwd(
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


@pytest.mark.parametrize(
    ("module", "command"),
    [
        (None, "intarsia run 'my shop.yaml'"),
        ("intarsia.__main__", "intarsia run 'my shop.yaml'"),
        ("pipelines.full_run", "python -m pipelines.full_run run 'my shop.yaml'"),
    ],
)
def test_reports_name_the_command_that_made_them(
    module: str | None, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = None if module is None else SimpleNamespace(name=module)
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
    monkeypatch.setattr(sys, "argv", ["program", "run", "my shop.yaml"])
    assert command_line() == command


def help_of(flag: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main(COPY, [flag])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_help_all_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("--help-all", capsys)
    for cls in (CopyConfig, RunConfig, SessionConfig):
        for field in fields(cls):
            assert f"{field.name}: " in text
            assert field.metadata["help"] in text
    assert "usage: intarsia job copy_texts" in text
    assert "texts -> copies" in text
    assert "Reads texts, hints; writes copies." in text


def test_help_leaves_out_the_advanced_settings(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("--help", capsys)
    assert "times: int = 1" in text
    assert "lake: Path  (required)" in text
    assert "separator" not in text


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
    printed = capsys.readouterr().err
    assert printed.startswith(words)
    assert printed.count("\n") == 1


def test_an_unknown_group_is_refused_with_the_nearest_known_one(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, nearest in (("copy_text", "copy_texts"), ("embed_product", "embed_products"), ("sesion", "session")):
        file.write_text(f"lake: lake/shop\ncopy_texts:\n{name}: {{}}\n")
        assert main(COPY, ["--config", str(file)]) == 1
        printed = capsys.readouterr().err
        assert printed == f"ConfigError: unknown group {name} in {file} or its overrides; did you mean {nearest}?\n"


def test_a_job_does_not_read_the_groups_of_other_jobs(file: Path) -> None:
    groups = "".join(f"{name}: {{not: read}}\n" for name in (*JOB_NAMES, *CHECK_NAMES))
    file.write_text(f"lake: lake/shop\n{groups}")
    put(Lake(file.parent / "lake" / "shop"), "texts", "abc")
    assert main(WITHOUT_RAY, ["--config", str(file), "times=2"]) == 0
    assert record_of(Lake(file.parent / "lake" / "shop"))["counts"]["characters"] == 6


def test_a_group_that_is_no_mapping_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(COPY, ["--config", str(file), "/copy_texts=3"]) == 1
    assert "copy_texts is 3; allowed: a group of settings" in capsys.readouterr().err


def test_a_command_without_a_config_file_has_exit_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(COPY, [])
    assert caught.value.code == 2
    assert "--config" in capsys.readouterr().err


def test_only_an_intarsia_error_becomes_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def invalid_input() -> None:
        raise DataError(table="t", field="f", found=1, allowed="2", fix="write 2")

    def internal_error() -> None:
        raise KeyError("oh")

    assert run_command(invalid_input) == 1
    assert capsys.readouterr().err == "DataError: t: f is 1; allowed: 2. Fix: write 2\n"
    with pytest.raises(KeyError, match="oh"):
        run_command(internal_error)
    assert run_command(lambda: None) == 0


def test_progress_is_printed_at_the_start_and_the_end_of_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    progress = JobProgress("embed")
    for done in range(1001):
        progress("text", done, 1000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "embed  text 1000/1000"
    assert 1 <= len(lines) <= 5


def test_a_lake_that_cannot_be_written_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file.parent / "a_file").write_text("")
    assert main(COPY, ["--config", str(file), f"lake={file.parent}/a_file/lake"]) == 1
    assert f"{file.parent}/a_file is not a folder. Fix: give a folder" in capsys.readouterr().err


def test_a_read_only_folder_is_refused(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *arguments: False)  # the tests may run as root, who may write anywhere
    assert main(COPY, ["--config", str(file)]) == 1
    assert "is not writable. Fix: give a folder that can be written, lake=FOLDER" in capsys.readouterr().err


def test_ctrl_c_is_one_line_and_exit_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert run_command(interrupted) == 130
    assert capsys.readouterr().err == "stopped; the same command continues\n"
