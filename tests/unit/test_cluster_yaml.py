"""The cluster files agree with Ray's schema, the pins of pyproject.toml and the flags of `make serve`."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from serve_apps.environment import THROUGHPUT_FLAGS
from serve_apps.settings import serving_config

ROOT = Path(__file__).resolve().parents[2]
FILES = ("cluster.yaml", "examples/cluster-local.yaml")


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return content


def ray_folder() -> Path:
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_valid_by_the_schema_of_ray(name: str) -> None:
    schema = json.loads((ray_folder() / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(read(name), schema)


@pytest.mark.parametrize("name", FILES)
def test_ray_is_pinned_as_in_pyproject(name: str) -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    (version,) = [pin.partition("]")[2] for pin in dependencies if pin.startswith("ray[")]
    assert any(f"'ray[data,serve,train,tune]{version}'" in command for command in read(name)["setup_commands"])
    assert any("constraints.txt" in command for command in read(name)["setup_commands"])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("group", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_every_node_starts_ray_with_the_flags_of_make_serve_and_a_token(name: str, group: str) -> None:
    (start,) = [command for command in read(name)[group] if "ray start" in command]
    for flag, value in THROUGHPUT_FLAGS.items():
        assert f"{flag}={value}" in start
    assert "RAY_AUTH_MODE=token" in start
    assert "~/.ray/auth_token" in read(name)["file_mounts"]


def test_no_extra_brings_a_second_onnxruntime() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    everything = [
        *project["dependencies"],
        *(pin for pins in project["optional-dependencies"].values() for pin in pins),
    ]
    assert [pin.split(">")[0] for pin in everything if pin.startswith("onnxruntime")] == ["onnxruntime"]


def test_the_cloud_has_a_head_and_cpu_and_gpu_groups() -> None:
    groups = read("cluster.yaml")["available_node_types"]
    assert set(groups) == {"head", "cpu", "gpu"}
    assert groups["gpu"]["resources"]["GPU"] == 1
    assert read("cluster.yaml")["head_node_type"] == "head"


def effective_commands(config: dict[str, Any], node_type: str) -> list[str]:
    """Setup commands of a node: the common ones and those of its role, or those of its type, which replace them all."""
    role = "head_setup_commands" if node_type == config.get("head_node_type") else "worker_setup_commands"
    merged = [*config["setup_commands"], *config.get(role, [])]
    own: list[str] | None = config.get("available_node_types", {}).get(node_type, {}).get(role)
    return merged if own is None else own


def node_types() -> list[tuple[str, str]]:
    return [(name, node_type) for name in FILES for node_type in read(name).get("available_node_types", ["any"])]


@pytest.mark.parametrize(("name", "node_type"), node_types())
def test_every_node_creates_the_environment_once_and_installs_the_package(name: str, node_type: str) -> None:
    commands = effective_commands(read(name), node_type)
    (venv,) = [
        at for at, command in enumerate(commands) if command == "test -x ~/env/bin/python || python3 -m venv ~/env"
    ]
    (package,) = [at for at, command in enumerate(commands) if "--editable '.[all]'" in command]
    (ray,) = [at for at, command in enumerate(commands) if "'ray[" in command]
    assert venv < ray < package
    (path,) = [command for command in commands if ">> ~/.bashrc" in command]
    assert path.startswith("grep -q 'env/bin' ~/.bashrc || ")


def test_every_file_names_the_same_lake() -> None:
    (application,) = read("serve_apps/search.yaml")["applications"]
    lake = application["args"]["lake"]
    assert lake == "/mnt/intarsia/lake"
    for name in ("cluster.yaml", "docs/operations.md"):
        assert f"lake={lake}" in (ROOT / name).read_text(encoding="utf-8")


def test_the_serve_config_names_a_builder_valid_settings_and_localhost() -> None:
    config = read("serve_apps/search.yaml")
    (application,) = config["applications"]
    module, builder = application["import_path"].split(":")
    assert f"def {builder}(" in (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert serving_config(application["args"]).topology == "composed"
    assert config["http_options"]["host"] == "127.0.0.1"
