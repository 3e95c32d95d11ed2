"""Reads a YAML config file and applies `key=value` overrides. `config.build` turns the result into a dataclass."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from intarsia.errors import ConfigError

_YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError)  # also of text that is not UTF-8, and of 2020-99-99


class FromCommandLine(str):
    """A string from an override: as a relative path it starts from the working directory, not from the config file."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping.

    Raises:
        ConfigError: the file is missing, is not YAML, or its top level is not a mapping.
    """
    try:
        content = _parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"config file {path} does not exist; give an existing file with --config") from None
    except OSError as error:
        raise ConfigError(f"config file {path} cannot be read: {error.strerror}") from None
    except _YAML_ERRORS as error:
        raise ConfigError(f"config file {path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"config file {path} holds {type(content).__name__}; allowed: a mapping of settings")
    return content


def with_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of `values` in which every override `a.b=c` is applied; c is parsed as YAML.

    >>> with_overrides({"model": {"depth": 6}}, ["model.depth=8", "names=[x, y]"])
    {'model': {'depth': 8}, 'names': ['x', 'y']}

    Raises:
        ConfigError: an override is not `key=value`, its value is not YAML, or its key goes through a plain value.
    """
    merged = _deep_copy(values)
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise ConfigError(f"override {override!r} is not key=value; write for example batch_size=64")
        *parents, last = path.split(".")
        group = merged
        for name in parents:
            group[name] = {} if group.get(name) is None else group[name]  # `group:` without settings is None in YAML
            group = group[name]
            if not isinstance(group, dict):
                raise ConfigError(f"override {override!r}: {name} is not a group of settings")
        try:
            group[last] = _mark_strings(_parse_yaml(text))
        except _YAML_ERRORS:
            raise ConfigError(f"override {override!r}: {text!r} is not YAML; quote it, or close its brackets") from None
    return merged


def _mark_strings(value: Any) -> Any:
    if isinstance(value, str):
        return FromCommandLine(value)
    return [_mark_strings(item) for item in value] if isinstance(value, list) else value


def _deep_copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _deep_copy(value) if isinstance(value, Mapping) else value for key, value in values.items()}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 in which 1e-3 is a number, as in YAML 1.2, and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"{repeated[0]} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _parse_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)
