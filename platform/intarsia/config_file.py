"""A config file, and the `key=value` that win over it, as plain values. What they mean is `config.py`'s matter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from intarsia.errors import ConfigError


class FromCommandLine(str):
    """A text of an override: a relative path in it starts from the working directory."""


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file whose top is a mapping.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds something else than a mapping.
    """
    try:
        content = _from_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"config file {path} does not exist; give an existing file with --config") from None
    except OSError as error:
        raise ConfigError(f"config file {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"config file {path} holds {type(content).__name__}; allowed: a mapping of settings")
    return content


def with_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`values` with every `a.b=c` of `overrides` put in its place; c is read as YAML (so 3, true, [1, 2] are what they look like)."""
    merged = _deep_copy(values)
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise ConfigError(f"override {override!r} is not key=value; write for example batch_size=64")
        *parents, last = path.split(".")
        place = merged
        for name in parents:
            place[name] = {} if place.get(name) is None else place[name]  # a group may stand empty in the file
            place = place[name]
            if not isinstance(place, dict):
                raise ConfigError(f"override {override!r}: {name} is not a group of settings")
        try:
            place[last] = _marked(_from_yaml(text))
        except yaml.YAMLError:
            raise ConfigError(f"override {override!r}: {text!r} is not YAML; quote it, or close its brackets") from None
    return merged


def _marked(value: Any) -> Any:
    if isinstance(value, str):
        return FromCommandLine(value)
    return [_marked(item) for item in value] if isinstance(value, list) else value


def _deep_copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _deep_copy(value) if isinstance(value, Mapping) else value for key, value in values.items()}


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, as in YAML 1.2, and a setting that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, its keys checked."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} stands twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _from_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)
