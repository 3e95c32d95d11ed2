"""Rules of the whole repository: layers, names, the list of jobs, and the help of their settings."""

from __future__ import annotations

import ast
import os
import re
import runpy
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from pipelines.job import Job, load_job, main
from pipelines.jobs import CHECK_NAMES, JOB_NAMES

ROOT = Path(__file__).resolve().parents[2]
CODE = ("platform", "pipelines", "serve_apps", "tune_spaces")
NOT_JOBS = {"__init__", "__main__", "code_digest", "full_run", "job", "jobs"}
ALL_NAMES = (*JOB_NAMES, *CHECK_NAMES)
MAX_COMMON_SETTINGS = 95  # 30 of them describe the columns and format of the user's own files
REPEATED_MODULES = {
    "__init__",
    "__main__",
    "clean",
    "config",
    "errors",
    "export",
    "mapping",
    "open",
    "protocol",
    "stages",
}
"""Modules whose package completes their name."""

REPLACED_NAMES = frozenset(
    re.findall(
        r"\w+",
        "Alone Answerer Asked Contender Crew Declined Entrant Front Held Learner Lessons Refusal Ring Settlement "
        "SeesSteps StepLost StepsTold Timetable Together beside folder_aside folder_kept hopeful_n is_elsewhere "
        "is_made lean_to_equal leave_behind lessons made_may_lose measure_unseen mend moved_by other_than poorer said "
        "said_otherwise settings_said steps_told taste that_teach told until_best worth_of",
    )
)
"""Names that were replaced by standard terms and must not come back."""


def sources() -> list[Path]:
    return sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120
    )


def configs_of(cls: type[Any]) -> Iterator[type[Any]]:
    """A config class and all config classes nested in it."""
    yield cls
    for hint in get_type_hints(cls).values():
        for nested in (hint, *get_args(hint)):
            if isinstance(nested, type) and is_dataclass(nested):
                yield from configs_of(nested)


def common_settings(cls: type[Any]) -> Iterator[tuple[type[Any], str]]:
    """The settings that `--help` shows, of a config class and those nested in it."""
    hints = get_type_hints(cls)
    for field in fields(cls):
        if not field.metadata.get("advanced", False):
            nested = [n for n in (hints[field.name], *get_args(hints[field.name])) if is_dataclass(n)]
            if nested:
                for config in nested:
                    yield from common_settings(config)
            else:
                yield cls, field.name


def test_platform_is_never_a_package_and_hides_nothing() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()
    code = "import platform, numpy, ray; print(platform.python_version(), platform.__file__)"
    completed = run(sys.executable, "-W", "ignore", "-c", code, PYTHONPATH=str(ROOT))
    assert completed.returncode == 0, completed.stderr
    version, file = completed.stdout.split()
    assert version == ".".join(map(str, sys.version_info[:3]))
    assert not Path(file).is_relative_to(ROOT / "platform")


def test_importing_the_library_starts_nothing() -> None:
    code = "import intarsia.onray.session, pipelines.job, ray; print(ray.is_initialized())"
    completed = run(sys.executable, "-W", "ignore", "-c", code, PYTHONPATH=f"{ROOT / 'platform'}:{ROOT}")
    assert (completed.returncode, completed.stdout.strip()) == (0, "False"), completed.stderr


def test_the_layers_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    completed = run(str(command), "--no-cache", PYTHONPATH=f"{ROOT / 'platform'}:{ROOT}")
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "0 broken" in completed.stdout


def test_platform_holds_one_package_and_no_module_is_called_utils() -> None:
    for path in (ROOT / "platform").iterdir():
        assert path.name in {"intarsia", "__pycache__"}, f"{path.name}: intarsia is the only package under platform/"
    names = {path.stem for path in sources()} | {path.parent.name for path in sources()}
    assert not names & {"utils", "util", "helpers", "common", "misc"}


def test_no_package_file_re_exports_except_the_public_interface() -> None:
    for path in sources():
        if path.name == "__init__.py" and path.parent.name != "intarsia":
            nodes = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.ImportFrom)]
            assert all(n.module == "__future__" for n in nodes), f"{path}: import from the module that defines the name"


def test_the_list_of_jobs_equals_the_files_of_jobs() -> None:
    files = {path.stem for path in (ROOT / "pipelines").glob("*.py")} - NOT_JOBS
    assert files == set(ALL_NAMES)
    assert len(set(ALL_NAMES)) == len(ALL_NAMES)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_a_job_has_the_name_of_its_file_and_a_summary(name: str) -> None:
    job = load_job(name)
    assert isinstance(job, Job)
    assert job.name == name
    assert job.summary and "\n" not in job.summary
    assert job.writes


def test_every_entry_is_written_by_one_job_and_read_by_later_ones() -> None:
    written: dict[str, str] = {}
    for name in ALL_NAMES:
        job = load_job(name)
        for entry in job.reads:
            assert entry in written, f"{name} reads {entry}, which no earlier job writes"
        for entry in job.writes:
            assert entry not in written, f"{entry} is written by {written[entry]} and by {name}"
            written[entry] = name


def test_every_optional_entry_is_written_by_some_job() -> None:
    jobs = [load_job(name) for name in JOB_NAMES]
    written = {entry for job in jobs for entry in job.writes}
    for job in jobs:
        assert set(job.optional_reads) <= written, f"{job.name} may read an entry that no job writes"


@pytest.mark.parametrize("name", ALL_NAMES)
def test_help_all_of_a_job_explains_every_setting(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    job = load_job(name)
    with pytest.raises(SystemExit) as caught:
        main(job, ["--help-all"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for cls in configs_of(job.config):
        for field in fields(cls):
            assert field.metadata.get("help"), f"{cls.__name__}.{field.name} has no help: declare it with setting(...)"
            assert f"{field.name}: " in text
            assert field.metadata["help"] in text


def test_the_list_of_jobs_shows_the_summary_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module("pipelines", run_name="__main__")
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    jobs, checks = lines[: len(JOB_NAMES)], lines[len(JOB_NAMES) :]
    assert jobs + checks == [[name, load_job(name).summary] for name in ALL_NAMES]


def test_few_settings_are_shown_without_help_all() -> None:
    shown = {setting for name in ALL_NAMES for setting in common_settings(load_job(name).config)}
    assert len(shown) <= MAX_COMMON_SETTINGS, sorted(f"{cls.__name__}.{name}" for cls, name in shown)


def test_no_public_class_or_function_has_the_name_of_another() -> None:
    owners: dict[str, list[str]] = {}
    for path in sources():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(
                "_"
            ):
                owners.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    for module in ALL_NAMES:  # every job has its own
        for name in ("run", "files"):
            owners[name] = [path for path in owners[name] if path != f"pipelines/{module}.py"]
    del owners["main"]
    assert {name: paths for name, paths in owners.items() if len(paths) > 1} == {}


def test_no_module_has_the_name_of_another() -> None:
    owners: dict[str, list[str]] = {}
    for path in sources():
        owners.setdefault(path.stem, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in owners.items() if len(paths) > 1 and name not in REPEATED_MODULES} == {}


def test_no_identifier_is_a_name_that_was_replaced() -> None:
    folders = (*CODE, "benchmarks", "tests")
    old_names = []
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        with path.open("rb") as file:
            names = {token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME}
        old_names += [f"{path.relative_to(ROOT)}: {name}" for name in sorted(names & REPLACED_NAMES)]
    assert old_names == []
