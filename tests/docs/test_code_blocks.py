"""The code in the documentation runs: Python blocks, YAML blocks, commands."""

from __future__ import annotations

import importlib
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from intarsia.catalog.mapping import load_mapping
from intarsia.config import build
from intarsia.config_file import read_yaml
from intarsia.lake import Lake
from pipelines.job import RunConfig, check_groups, load_job, run_job
from pipelines.jobs import CHECK_NAMES, JOB_NAMES
from tests.docs.pages import DOCS, ROOT, WRITTEN, blocks, example_folder, output_after, run_python, shell_lines
from tests.shop import small_shop

WITH_PYTHON = [page for page in WRITTEN if any(block.is_run for block in blocks(page, "python"))]
WITH_YAML = [page for page in WRITTEN if blocks(page, "yaml")]
LINES = [(page, line) for page in WRITTEN for line in shell_lines(page)]
PROGRAMS = {"make", "intarsia", "python", "curl", "ray", "serve"}
COMMANDS = {"run", "job", "jobs", "serve", "evaluate", "promote", "rollback", "demo"}


def lines_of(program: str) -> list[str]:
    return sorted({line for _, line in LINES if line.split()[0] == program})


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_python_blocks_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    printed, _ = run_python(page, tmp_path)
    for block, output in printed:
        shown = output_after(block)
        assert shown is None or output == shown.text


def test_the_job_of_the_extending_page_runs(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    _, names = run_python(DOCS / "extending.md", tmp_path / "page")
    lake = Lake(tmp_path / "lake")
    shutil.copytree(small_shop().root / "products", lake.root / "products")
    job = names["JOB"]
    assert run_job(job, job.config(min_products=2), lake)
    assert not run_job(job, job.config(min_products=2), lake), "nothing changed, so it is skipped"


@pytest.mark.parametrize("page", WITH_YAML, ids=lambda page: page.stem)
def test_yaml_blocks_are_valid_mappings_or_configs(page: Path, tmp_path: Path) -> None:
    with example_folder(page, tmp_path):
        for block in blocks(page, "yaml"):
            assert block.title, "a YAML block has a title that names its file"
            path = tmp_path / block.title
            if block.title.endswith("mapping.yaml"):
                load_mapping(path)
                continue
            values = read_yaml(path)
            check_groups(values, path)
            build(RunConfig, {"lake": values["lake"]}, base=tmp_path)
            for name in (*JOB_NAMES, *CHECK_NAMES):
                if name in values:
                    build(load_job(name).config, values[name] or {}, where=name, base=tmp_path)


def test_every_command_is_of_a_checked_program() -> None:
    assert {line.split()[0] for _, line in LINES} <= PROGRAMS


@pytest.mark.parametrize("line", lines_of("make"))
def test_make_targets_exist(line: str) -> None:
    shown = subprocess.run(
        ["make", "--dry-run", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip()


@pytest.mark.parametrize(("page", "line"), [(page, line) for page, line in LINES if line.split()[0] == "intarsia"])
def test_intarsia_commands_name_commands_jobs_and_files(page: Path, line: str) -> None:
    words = shlex.split(line)
    assert words[1] in COMMANDS
    if words[1] == "job":
        assert words[2] in (*JOB_NAMES, *CHECK_NAMES)
    shown_files = {block.title for block in blocks(page, "yaml")}
    for word in words[2:]:
        if word.endswith(".yaml"):
            assert (ROOT / word).is_file() or word in shown_files, word


@pytest.mark.parametrize("command", sorted({line.split()[1] for line in lines_of("intarsia")} - {"jobs"}))
def test_intarsia_commands_have_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    from intarsia.__main__ import main

    with pytest.raises(SystemExit) as ended:
        sys.exit(main([command, *(["ingest_catalog"] if command == "job" else []), "--help"]))
    assert ended.value.code in (0, None)
    assert "usage:" in capsys.readouterr().out


def benchmark_modules() -> list[str]:
    tables = [json.loads(path.read_text(encoding="utf-8")) for path in (DOCS / "results").glob("*.json")]
    return sorted({table["command"].split()[2] for table in tables} - {"pipelines.compare_fusions"})


@pytest.mark.parametrize("module", benchmark_modules())
def test_commands_of_result_tables_write_json(
    module: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main()
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("line", [*lines_of("ray"), *lines_of("serve")])
def test_files_of_cluster_commands_exist(line: str) -> None:
    for word in shlex.split(line):
        if word.endswith((".yaml", ".yml")):
            assert (ROOT / word).is_file(), word
