"""Frozen dataclasses from plain values: the one way settings come in. What a setting means is its owner's matter.

A config field is declared with `setting(help, default)`; `build` refuses unknown keys and proposes the nearest, checks types, and
leaves ranges to the dataclass's own `__post_init__`. The values come from `config_file.py`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from intarsia.config_file import FromCommandLine
from intarsia.errors import ConfigError
from intarsia.ids import sha256_json

T = TypeVar("T")

_HERE = Path()


def setting(
    help: str, default: Any = dataclasses.MISSING, *, factory: Any = dataclasses.MISSING, advanced: bool = False
) -> Any:
    """Declare a config field.

    Args:
        help: meaning and unit, shown by `--help`.
        default: value when the config file gives none; without a default the file must give one.
        factory: makes the default instead.
        advanced: shown by `--help-all` only.
    """
    metadata = {"help": help, "advanced": advanced}
    if factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def build(cls: type[T], values: Mapping[str, Any], *, where: str = "", base: Path = _HERE, start: T | None = None) -> T:
    """A config dataclass from plain values, nested ones too.

    Args:
        cls: a frozen dataclass.
        values: what YAML gave.
        where: dotted path of this group, for messages.
        base: what relative paths of a config file start from, its folder; those of overrides start from the working directory.
        start: where what is not given is taken from, instead of the defaults of `cls`: a group's owner may have set others.

    Raises:
        ConfigError: unknown key (with the nearest known one), missing key, wrong type, or a value its owner refuses.
    """
    assert dataclasses.is_dataclass(cls)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where or cls.__name__} is {values!r}; allowed: a group of settings")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in fields:
            raise ConfigError(f"unknown setting {_dotted(where, key)}{nearest_of(key, fields)}")
    ready: dict[str, Any] = {}
    for name, field in fields.items():
        own = _default(field) if start is None else getattr(start, name)
        if name not in values:
            if own is dataclasses.MISSING:
                raise ConfigError(f"setting {_dotted(where, name)} is required: {field.metadata.get('help', '')}")
            ready[name] = own
        elif type(own) is hints[name] and dataclasses.is_dataclass(own) and isinstance(values[name], Mapping):
            ready[name] = build(hints[name], values[name], where=_dotted(where, name), base=base, start=own)
        else:
            ready[name] = _convert(hints[name], values[name], _dotted(where, name), base)
    try:
        return cls(**ready)
    except ValueError as error:
        raise ConfigError(f"{where or cls.__name__}: {error}") from error


def nearest_of(name: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the known one it resembles, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(names)}"


def check_range(config: object, *names: str, low: float, high: float | None = None) -> None:
    """Refuse a setting outside low..high, for a config's `__post_init__`.

    Raises:
        ValueError: the first of `names` that is outside.
    """
    for name in names:
        value = getattr(config, name)
        if not low <= value <= (math.inf if high is None else high):
            allowed = f"{low} or more" if high is None else f"{low} to {high}"
            raise ValueError(f"{name} is {value}; allowed: {allowed}")


def to_jsonable(config: object, *, path_text: Callable[[Path], str] = str) -> Any:
    """A config as JSON-able values: what goes into records, fingerprints and manifests."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_jsonable(getattr(config, f.name), path_text=path_text) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): to_jsonable(value, path_text=path_text) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_jsonable(value, path_text=path_text) for value in config]
    return path_text(config) if isinstance(config, Path) else config


def fingerprint(config: object) -> str:
    """sha256 of a config's values: equal settings, equal fingerprint; of a path only the name counts, not where it lies."""
    return sha256_json(to_jsonable(config, path_text=lambda path: path.name))


def describe(cls: type[Any], *, indent: str = "  ", start: Any = None) -> str:
    """Every setting of a config class with type, default and meaning: the body of a job's `--help`; `start` as in `build`."""
    hints = typing.get_type_hints(cls)
    lines: list[str] = []
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        own = _default(field) if start is None else getattr(start, field.name)
        said = "  (required)" if own is dataclasses.MISSING else f" = {to_jsonable(own)!r}"
        lines.append(f"{indent}{field.name}: {_type_name(hint)}{said}")
        if text := field.metadata.get("help", ""):
            lines.append(f"{indent}    {text}")
        for nested in _nested_configs(hint):
            lines.append(describe(nested, indent=indent + "    ", start=own if type(own) is nested else None))
    return "\n".join(lines)


def _convert(hint: Any, value: Any, where: str, base: Path) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [a for a in arguments if a is not type(None)]
        for option in options[:-1]:
            try:
                return _convert(option, value, where, base)
            except ConfigError:
                continue
        return _convert(options[-1], value, where, base)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{where} is {value!r}; allowed: {', '.join(map(repr, arguments))}")
        return arguments[arguments.index(value)]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} is {value!r}; allowed: a list")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(arguments[0], item, f"{where}[{i}]", base) for i, item in enumerate(value))
        if len(arguments) != len(value):
            raise ConfigError(f"{where} has {len(value)} values; allowed: {len(arguments)}")
        return tuple(
            _convert(a, item, f"{where}[{i}]", base) for i, (a, item) in enumerate(zip(arguments, value, strict=True))
        )
    if origin in (dict, Mapping) or getattr(origin, "__name__", "") == "Mapping":
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}; allowed: a mapping")
        return {str(k): _convert(arguments[1], v, _dotted(where, k), base) for k, v in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}; allowed: a group of settings")
        return build(hint, value, where=where, base=base)
    if hint is Path:
        if not isinstance(value, str | Path):
            raise ConfigError(f"{where} is {value!r}; allowed: a path")
        path = Path(value).expanduser()
        return Path(os.path.abspath(path if isinstance(value, FromCommandLine) else base / path))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool):
        if type(value) is not hint and not (hint is str and isinstance(value, str)):
            raise ConfigError(f"{where} is {value!r}; allowed: {hint.__name__}")
        return str(value) if hint is str else value
    return value


def _nested_configs(hint: Any) -> list[type[Any]]:
    if isinstance(hint, type):
        return [hint] if dataclasses.is_dataclass(hint) else []
    return [nested for argument in typing.get_args(hint) for nested in _nested_configs(argument)]


def _type_name(hint: Any) -> str:
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return hint.__name__
    return str(hint).replace("typing.", "").replace("pathlib.", "").replace("intarsia.", "")


def _default(field: dataclasses.Field[Any]) -> Any:
    """Its value where none is given; MISSING when one must be."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _dotted(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
