"""What the README tells people to type is what there is: each command of its code blocks is tried, short of running for minutes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [
    line.split(" # ")[0].split("    #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


def lines_of(program: str) -> list[str]:
    return [line for line in LINES if line.split()[0] == program]


def test_every_code_block_line_is_of_a_kind_that_is_tried_here_or_over_http() -> None:
    assert {line.split()[0] for line in LINES} == {"make", "python", "curl", "ray", "serve"}


@pytest.mark.parametrize("line", lines_of("make"))
def test_the_make_targets_exist_and_expand(line: str) -> None:
    shown = subprocess.run(
        ["make", "--dry-run", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip()


@pytest.mark.parametrize("line", lines_of("python"))
def test_the_files_of_the_python_commands_exist(line: str) -> None:
    names = [word for word in shlex.split(line) if word.startswith(("pipelines/", "examples/"))]
    assert all((ROOT / name).is_file() for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted({shlex.split(line)[2] for line in lines_of("python")} - {"pipelines"}))
def test_the_modules_of_the_python_commands_run(module: str) -> None:  # test_house.py runs and reads the list of jobs
    shown = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip()


@pytest.mark.parametrize("line", [*lines_of("ray"), *lines_of("serve")])
def test_the_files_of_the_cluster_commands_exist(line: str) -> None:
    for word in shlex.split(line):
        if word.endswith((".yaml", ".yml")):
            assert (ROOT / word).is_file(), word


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
