"""What the registry knows of a kind of fusion, and how fitted kinds are written down."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from intarsia.config import build, to_jsonable
from intarsia.errors import ArtifactError, ConfigError
from intarsia.fusion.protocol import Fuser, FusionTrainingData, ProductVectors
from intarsia.fusion.spec import FILE
from intarsia.lake import write_json


class KindConfig(Protocol):
    """The settings of a kind: a frozen dataclass whose field `kind` names it; all other fields have defaults."""

    @property
    def kind(self) -> str:
        """The name in the registry."""
        ...


ConfigT = TypeVar("ConfigT", bound=KindConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[ConfigT]):
    """One kind of fusion.

    Attributes:
        about: what it does, in one line, for tables and help.
        config: class of its settings; `config(kind=name)` are the defaults.
        fit: (config, train, validation, seed) -> fuser; equal arguments give equal bits.
        open: (folder, product vectors or None) -> the fuser that was saved there.
        is_fitted: whether it learns from the lessons; if not, `fit` reads nothing of them.
        reads_vectors: whether it reads query vectors and `ProductVectors`, beside scores and ranks.
        fit_crossed: (config, train, validation, num_folds, seed) -> the fuser and those of its folds, where that is cheaper together than
            one after the other.
    """

    about: str
    config: type[ConfigT]
    fit: Callable[[ConfigT, FusionTrainingData, FusionTrainingData, int], Fuser]
    open: Callable[[Path, ProductVectors | None], Fuser]
    is_fitted: bool = True
    reads_vectors: bool = False
    fit_crossed: (
        Callable[[ConfigT, FusionTrainingData, FusionTrainingData, int, int], tuple[Fuser, tuple[Fuser, ...]]] | None
    ) = None


def write_header(folder: Path, config: KindConfig, facts: Mapping[str, Any]) -> None:
    """Write `fusion.json` of a fitted kind: its kind, its settings, and what was fitted, as far as that is a few plain values."""
    write_json(folder / FILE, {"kind": config.kind, "config": to_jsonable(config), **facts})


def read_header(folder: Path) -> Mapping[str, Any]:
    """`fusion.json` of any kind, a plain spec too.

    Raises:
        ArtifactError: there is none, or it is not JSON with a kind.
    """
    path = folder / FILE
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist; run search_fusion") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is not a fusion spec: {error}; run search_fusion again") from None
    if not isinstance(header, dict) or not isinstance(header.get("kind"), str):
        raise ArtifactError(f"{path} is not a fusion spec: it names no kind; run search_fusion again")
    return header


def read_config(cls: type[ConfigT], folder: Path) -> tuple[ConfigT, Mapping[str, Any]]:
    """The settings in the header of a fitted kind, and the whole header.

    Raises:
        ArtifactError: there is none, or the settings are not those of this code.
    """
    header = read_header(folder)
    try:
        return build(cls, header.get("config", {}), where="config"), header
    except ConfigError as error:
        raise ArtifactError(f"{folder / FILE}: {error}; run search_fusion again") from None


def read_part(folder: Path, name: str) -> str:
    """A text file beside the header.

    Raises:
        ArtifactError: it is missing.
    """
    try:
        return (folder / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArtifactError(f"{folder / name} is missing; run search_fusion again") from None
