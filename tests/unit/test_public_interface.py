"""The public Python interface of `import intarsia`, and the command `intarsia`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import intarsia
from intarsia import __main__ as command
from intarsia.errors import ArtifactError, ConfigError, DataError


def test_every_public_name_can_be_imported() -> None:
    for name in intarsia.__all__:
        assert getattr(intarsia, name) is not None
        assert name in dir(intarsia)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'SearchEngin'"):
        intarsia.SearchEngin  # noqa: B018


def test_the_stub_lists_the_public_names() -> None:
    stub = Path(intarsia.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    assert {line.rpartition(" as ")[2] for line in stub.splitlines() if " as " in line} | {"__version__"} == set(
        intarsia.__all__
    )


def test_importing_intarsia_takes_under_0_3_seconds_of_cpu() -> None:
    code = "import time; start = time.process_time(); import intarsia; print(time.process_time() - start)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 0.3


def test_load_catalog_gives_products_and_rejects_that_add_up(tmp_path: Path) -> None:
    rows = [{"id": "1", "name": "Red shoe"}, {"id": "2", "name": "Blue mug"}, {"id": "3", "name": ""}]
    (tmp_path / "products.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "mapping.yaml").write_text("product_id: id\ntitle: name\n", encoding="utf-8")
    catalog = intarsia.load_catalog(tmp_path / "products.jsonl", tmp_path / "mapping.yaml")
    assert [(product.product_id, product.title) for product in catalog.products] == [
        ("1", "Red shoe"),
        ("2", "Blue mug"),
    ]
    assert catalog.num_rows == len(catalog.products) + len(catalog.rejects) == 3
    assert catalog.rejects[0]["field"] == "title"


def test_load_catalog_refuses_a_wrong_mapping_and_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "products.jsonl").write_text("", encoding="utf-8")
    (tmp_path / "wrong.yaml").write_text("product_id: id\ntitel: name\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"titel.*did you mean title"):
        intarsia.load_catalog(tmp_path / "products.jsonl", tmp_path / "wrong.yaml")
    (tmp_path / "mapping.yaml").write_text("product_id: id\ntitle: name\n", encoding="utf-8")
    with pytest.raises(DataError, match="rows"):
        intarsia.load_catalog(tmp_path / "products.jsonl", tmp_path / "mapping.yaml")


def test_the_command_prints_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["--version"])
    assert (stopped.value.code, capsys.readouterr().out) == (0, f"intarsia {intarsia.__version__}\n")


def test_an_unknown_job_is_refused_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["job", "ingest_catalogue"]) == 2
    assert "did you mean ingest_catalog?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (["run", "--help"], "usage: intarsia run"),
        (["job", "ingest_catalog", "--help"], "usage: intarsia job ingest_catalog"),
        (["evaluate", "--help"], "usage: intarsia evaluate"),
        (["promote", "--help"], "usage: intarsia promote"),
        (["rollback", "--help"], "usage: intarsia rollback"),
        (["serve", "--help"], "usage: intarsia serve"),
        (["demo", "--help"], "usage: intarsia demo"),
    ],
)
def test_each_command_reaches_its_module(
    arguments: list[str], program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 0
    assert program in capsys.readouterr().out


def test_run_takes_the_config_file_as_its_first_argument(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["run", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml" in capsys.readouterr().err


def test_jobs_lists_every_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["jobs"]) == 0
    assert "train_ranker" in capsys.readouterr().out


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_closes_the_pipe_ends_the_command_quietly(unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command_line = [sys.executable, "-m", "intarsia", "jobs"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    ended = subprocess.run(command_line, stdout=writer, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writer)
    assert (ended.stderr, ended.returncode) == (b"", 128 + signal.SIGPIPE)


def test_jobs_takes_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["jobs", "extra"])
    assert stopped.value.code == 2
    assert "unrecognized arguments: extra" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["to=r-1", "promote_release.to=staged"])
def test_rollback_refuses_another_target(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["rollback", "--config", "shop.yaml", target]) == 2
    assert f"rollback takes no {target}" in capsys.readouterr().err


def test_two_config_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b.yaml").write_text("lake: lake\n")
    assert command.main(["run", "a.yaml", "--config", str(tmp_path / "b.yaml")]) == 1
    assert "override 'a.yaml' is not key=value" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 7), (signal.SIGTERM, 143)])
def test_demo_waits_until_an_interrupted_program_has_ended(number: signal.Signals, status: int, tmp_path: Path) -> None:
    """The program sends the signal to its parent, as a terminal or a container does, then takes a second to end."""
    program = tmp_path / "program.py"
    program.write_text(f"import os, sys, time\nos.kill(os.getppid(), {int(number)})\ntime.sleep(1)\nsys.exit(7)\n")
    code = "import sys; from intarsia.__main__ import _run_process; sys.exit(_run_process(sys.argv[1:]))"
    assert subprocess.run([sys.executable, "-c", code, sys.executable, str(program)], check=False).returncode == status


@pytest.mark.parametrize("content", ["", "{", '{"history": [{"release_id": "r-1", "at": "", "why": ""}]}'])
def test_open_release_refuses_a_damaged_lake(content: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no release is live"):
        intarsia.open_release(tmp_path / "nowhere")
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "live.json").write_text(content)
    (tmp_path / "releases" / "r-1").write_text("not a folder")
    with pytest.raises(ArtifactError, match=r"is damaged|is not a release"):
        intarsia.open_release(tmp_path)
    with pytest.raises(ArtifactError, match=r"live\.json cannot be read: Not a directory"):
        intarsia.open_release(tmp_path / "releases" / "r-1")
