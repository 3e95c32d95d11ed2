"""The files around the code: extras, version, workflows, containers, package data."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import intarsia

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def test_the_version_stands_in_one_place() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "intarsia.__version__"}
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{intarsia.__version__}]" in changelog


def test_the_base_install_has_no_torch_and_all_has_every_runtime_extra() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(extras) == {"serve", "train", "report", "offline-models", "all", "dev", "docs"}
    assert not any(name.startswith(("torch", "transformers", "fastapi")) for name in PROJECT["project"]["dependencies"])
    assert extras["all"] == ["intarsia[serve,train,report,offline-models]"]


def test_every_direct_dependency_is_locked_once() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    locked = [re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines if "==" in line]
    assert len(locked) == len(set(locked)) == len(lines)
    groups = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    wanted = {
        re.sub(r"[-_.]+", "-", match[0]).lower()
        for group in groups
        for name in group
        if (match := re.match(r"[\w.-]+", name))
    }
    assert wanted - {"intarsia"} <= set(locked)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_targets_that_exist(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    for command in commands:
        if command.startswith("make "):
            assert command.split()[1] in TARGETS, command
        if command.startswith("."):
            assert (ROOT / command).is_file(), command


def test_the_images_run_as_a_user_without_privileges() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    stages = [line.split()[-1] for line in lines if line.startswith("FROM")]
    assert stages == ["build", "base", "gpu", "cpu"]
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001:10001"] * 2
    copied = [line.split()[1] for line in lines if line.startswith("COPY") and "--from" not in line]
    assert all((ROOT / name).exists() for name in copied)


def test_compose_publishes_on_loopback_and_mounts_what_exists() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert services["serve"]["ports"] == ["127.0.0.1:8000:8000"]
    for service in services.values():
        for mount in service["volumes"]:
            source = mount.partition(":")[0]
            assert source == "lake" or (ROOT / source).is_dir()


def test_the_wheel_packages_the_data_files_the_code_reads() -> None:
    data = PROJECT["tool"]["setuptools"]["package-data"]
    for package, patterns in data.items():
        folder = ROOT / ("platform" if package.startswith("intarsia") else "") / package.replace(".", "/")
        for pattern in patterns:
            assert list(folder.glob(pattern)), f"{package}: no file matches {pattern}"
