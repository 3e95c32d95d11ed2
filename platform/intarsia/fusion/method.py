"""The registry entry of a fusion method, and the file `fusion.json` of fitted methods."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from intarsia.config import build, to_jsonable
from intarsia.errors import ArtifactError, ConfigError
from intarsia.fusion.protocol import Fuser, FusionTrainingData, ProductVectors
from intarsia.fusion.spec import FUSION_FILE
from intarsia.lake import write_json


class MethodConfig(Protocol):
    """The settings of a fusion method: a frozen dataclass; `kind` is the method's name, all others have defaults."""

    @property
    def kind(self) -> str: ...


MethodConfigT = TypeVar("MethodConfigT", bound=MethodConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredMethod(Generic[MethodConfigT]):
    """One fusion method of the registry.

    Attributes:
        summary: what the method does, in one line, for tables and help.
        config: class of its settings; `config(kind=name)` gives the defaults.
        fit: (config, train, validation, seed) -> fuser; equal arguments give equal bits.
        open: (folder, product vectors or None) -> the fuser saved in the folder.
        is_fitted: whether the method learns from the training data; if not, `fit` does not read it.
        reads_vectors: whether the method reads query vectors and `ProductVectors` in addition to scores and ranks.
        cross_fit: (config, train, validation, num_folds, seed) -> the fuser and one per fold; given where fitting them
            together is cheaper than one after another.
    """

    summary: str
    config: type[MethodConfigT]
    fit: Callable[[MethodConfigT, FusionTrainingData, FusionTrainingData, int], Fuser]
    open: Callable[[Path, ProductVectors | None], Fuser]
    is_fitted: bool = True
    reads_vectors: bool = False
    cross_fit: (
        Callable[[MethodConfigT, FusionTrainingData, FusionTrainingData, int, int], tuple[Fuser, tuple[Fuser, ...]]]
        | None
    ) = None


def write_fusion_header(folder: Path, config: MethodConfig, fitted: Mapping[str, Any]) -> None:
    """Write `fusion.json` of a fitted method: its name, its settings, and the fitted values that are small."""
    write_json(folder / FUSION_FILE, {"kind": config.kind, "config": to_jsonable(config), **fitted})


def read_fusion_header(folder: Path) -> Mapping[str, Any]:
    """Read `fusion.json` of any method, a `FusionSpec` included.

    Raises:
        ArtifactError: the file is missing, or is not JSON with a field `kind`.
    """
    path = folder / FUSION_FILE
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist. Fix: run search_fusion") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is not a fusion spec: {error}. Fix: run search_fusion again") from None
    if not isinstance(header, dict) or not isinstance(header.get("kind"), str):
        raise ArtifactError(f"{path} is not a fusion spec: it names no kind. Fix: run search_fusion again")
    return header


def read_config(cls: type[MethodConfigT], folder: Path) -> tuple[MethodConfigT, Mapping[str, Any]]:
    """Read the settings of a fitted method, and the whole header.

    Raises:
        ArtifactError: the header is missing, or the settings do not fit this version of the code.
    """
    header = read_fusion_header(folder)
    try:
        return build(cls, header.get("config", {}), where="config"), header
    except ConfigError as error:
        raise ArtifactError(f"{folder / FUSION_FILE}: {error}. Fix: run search_fusion again") from None


def read_text_file(folder: Path, name: str) -> str:
    """Read a text file of a saved fuser.

    Raises:
        ArtifactError: it is missing.
    """
    try:
        return (folder / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArtifactError(f"{folder / name} is missing. Fix: run search_fusion again") from None
