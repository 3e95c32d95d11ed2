"""The place at rest: named tables and artefacts in one folder, each published whole or not at all.

`<root>/<name>/<digest>/…` holds one version, `<root>/<name>/current.json` names the one that counts. A writer fills a folder aside, renames
it, then replaces the small pointer file, so a reader sees the old version or the new one, never a half. What is in the files is
`tables/`'s and the organs' matter.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.errors import ArtifactError
from intarsia.ids import sha256_tree, short

_POINTER = "current.json"
_STAGING = ".staging-"
_KEPT_VERSIONS = 2  # the current one and the one a running reader may still hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One published version of a table or artefact: where it lies, the sha256 of its files, and what its writer noted."""

    name: str
    path: Path
    digest: str
    notes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lake:
    """A folder of named entries; on a cluster a folder that every node mounts."""

    root: Path

    def current(self, name: str) -> Entry:
        """The version of `name` that counts.

        Raises:
            ArtifactError: nothing of that name was published, or its files are gone.
        """
        pointer = self.root / name / _POINTER
        try:
            content = json.loads(pointer.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ArtifactError(
                f"{name} is not in the lake {self.root}; run the job that makes it (python -m pipelines)"
            ) from None
        path = self.root / name / content["version"]
        if not path.is_dir():
            raise ArtifactError(
                f"{name} version {content['version']} is named by {pointer} but its files are gone; run its job again"
            )
        return Entry(name=name, path=path, digest=content["digest"], notes=content["notes"])

    def has(self, name: str) -> bool:
        """Whether some version of `name` was published."""
        return (self.root / name / _POINTER).is_file()

    @contextmanager
    def publish(self, name: str, notes: dict[str, Any] | None = None) -> Iterator[Path]:
        """A fresh folder to fill; on leaving without an error it becomes the current version of `name`.

        Args:
            name: table or artefact.
            notes: JSON-able facts kept beside the pointer; may be filled until the block ends.
        """
        home = self.root / name
        home.mkdir(parents=True, exist_ok=True)
        staging = home / f"{_STAGING}{uuid.uuid4().hex}"
        staging.mkdir()
        try:
            yield staging
            digest = sha256_tree(staging)
            version = home / short(digest)
            if version.exists() and sha256_tree(version) != digest:
                shutil.rmtree(version)  # torn by a crash of an earlier time
            if not version.exists():
                staging.rename(version)
            os.utime(version)  # its age is when it last became current: see _drop_old_versions
            write_json(home / _POINTER, {"version": version.name, "digest": digest, "notes": notes or {}})
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        self._drop_old_versions(home, version)

    def _drop_old_versions(self, home: Path, current: Path) -> None:
        versions = [p for p in home.iterdir() if p.is_dir() and not p.name.startswith(".")]
        others = sorted((p for p in versions if p != current), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in others[_KEPT_VERSIONS - 1 :]:
            shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: object) -> None:
    """Write a small JSON file aside and move it into place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=2, sort_keys=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
