"""Settings as frozen dataclasses.

A component declares its settings in a frozen dataclass, each field with `setting(help, default)`. `build` makes it
from plain values (`config_file.py` reads them): it refuses unknown keys, names the nearest known one, and checks
types. Ranges are checked by the dataclass's `__post_init__`.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import os
import re
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
        default: value if the config file has none; without a default the file must have one.
        factory: makes the default; given instead of `default`.
        advanced: `--help` leaves the setting out; `--help-all` shows it.
    """
    metadata = {"help": help, "advanced": advanced}
    if factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def build(cls: type[T], values: Mapping[str, Any], *, where: str = "", base: Path = _HERE, start: T | None = None) -> T:
    """Make a config dataclass, and those nested in it, from plain values.

    Args:
        cls: a frozen dataclass.
        values: settings by name, as YAML gives them.
        where: dotted path of this group, for messages.
        base: folder that relative paths start from; relative paths of overrides start from the working directory.
        start: instance that replaces the defaults of `cls`: the field that holds a nested config may set other
            defaults.

    Raises:
        ConfigError: a key is unknown (the message names the nearest known one) or missing, a type is wrong, or
            `__post_init__` refuses a value.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Encoder:
    ...     dim: int = setting("width of the vectors", 384)
    >>> build(Encoder, {"dim": 64})
    Encoder(dim=64)
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
        default = _default(field) if start is None else getattr(start, name)
        if name not in values:
            if default is dataclasses.MISSING:
                raise ConfigError(f"setting {_dotted(where, name)} is required: {field.metadata.get('help', '')}")
            ready[name] = default
        elif type(default) is hints[name] and dataclasses.is_dataclass(default) and isinstance(values[name], Mapping):
            ready[name] = build(hints[name], values[name], where=_dotted(where, name), base=base, start=default)
        else:
            ready[name] = _convert(hints[name], values[name], _dotted(where, name), base)
    try:
        return cls(**ready)
    except ValueError as error:
        raise ConfigError(f"{where or cls.__name__}: {error}") from error


def nearest_of(name: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the most similar known name, or all known names.

    >>> nearest_of("vekt", ["vector", "text"])
    '; did you mean vector?'
    """
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(names)}"


def check_range(config: object, *names: str, low: float, high: float | None = None) -> None:
    """Refuse settings outside low..high (no upper bound without `high`); called by a config's `__post_init__`.

    Raises:
        ValueError: names the first setting of `names` that is outside.
    """
    for name in names:
        value = getattr(config, name)
        if not low <= value <= (math.inf if high is None else high):
            allowed = f"{low} or more" if high is None else f"{low} to {high}"
            raise ValueError(f"{name} is {value}; allowed: {allowed}")


def to_jsonable(config: object, *, path_text: Callable[[Path], str] = str) -> Any:
    """Convert a config, nested ones included, to JSON values, for records, fingerprints and manifests."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_jsonable(getattr(config, f.name), path_text=path_text) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): to_jsonable(value, path_text=path_text) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_jsonable(value, path_text=path_text) for value in config]
    return path_text(config) if isinstance(config, Path) else config


def fingerprint(config: object) -> str:
    """sha256 of a config's values. Of a path only the last part counts, so files may be moved."""
    return sha256_json(to_jsonable(config, path_text=lambda path: path.name))


def describe(cls: type[Any], *, advanced: bool = True, indent: str = "  ", start: Any = None) -> str:
    """List the settings of a config class with type, default and meaning, for `--help`.

    Args:
        cls: a config dataclass.
        advanced: also list the settings declared as advanced.
        indent: before each line; nested configs are indented further.
        start: as in `build`.
    """
    hints = typing.get_type_hints(cls)
    lines: list[str] = []
    for field in dataclasses.fields(cls):
        if field.metadata.get("advanced", False) and not advanced:
            continue
        hint = hints[field.name]
        default = _default(field) if start is None else getattr(start, field.name)
        nested_lines = [
            describe(
                nested, advanced=advanced, indent=indent + "    ", start=default if type(default) is nested else None
            )
            for nested in _nested_configs(hint)
        ]
        if nested_lines and not any(nested_lines):
            continue  # all settings of the group are advanced
        default_text = "  (required)" if default is dataclasses.MISSING else f" = {to_jsonable(default)!r}"
        if dataclasses.is_dataclass(default) and nested_lines:
            default_text = ""  # the nested lines show the defaults
        lines.append(f"{indent}{field.name}: {_type_name(hint)}{default_text}")
        if text := field.metadata.get("help", ""):
            lines.append(f"{indent}    {text}")
        lines += filter(None, nested_lines)
    return "\n".join(lines)


def add_settings_help(parser: argparse.ArgumentParser, settings_text: Callable[[bool], str]) -> None:
    """Add `--help`, which ends with the common settings, and `--help-all`, which also shows the advanced ones.

    Args:
        parser: made with `add_help=False` and `RawDescriptionHelpFormatter`.
        settings_text: makes the text when it is needed, given whether to include the advanced settings; see `describe`.
    """

    class PrintHelp(argparse.Action):
        def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
            parser.epilog = settings_text(bool(self.const))
            parser.print_help()
            parser.exit()

    for flags, advanced, help in (
        (("-h", "--help"), False, "show this help message and exit"),
        (("--help-all",), True, "the same with all settings, also the advanced ones"),
    ):
        parser.add_argument(*flags, action=PrintHelp, nargs=0, const=advanced, default=argparse.SUPPRESS, help=help)


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
    return re.sub(r"\b(?:typing|collections\.abc|pathlib|intarsia)\.", "", str(hint))


def _default(field: dataclasses.Field[Any]) -> Any:
    """The default value; MISSING if the setting is required."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _dotted(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)
