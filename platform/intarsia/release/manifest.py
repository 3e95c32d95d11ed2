"""What a bundle says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from intarsia.config import build, to_jsonable
from intarsia.errors import ArtifactError
from intarsia.ids import ReleaseId, sha256_bytes
from intarsia.lake import write_json

SCHEMA_VERSION = 1
FILE = "manifest.json"
SEAL = "manifest.sha256"
"""The manifest's own digest, beside it, as `sha256sum -c` reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigest:
    """One file of the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything needed to know what a release is made of, and to refuse it when a byte has changed.

    `parts` maps each part to the digest of the lake entry it was copied from; `files` maps each file's path in the bundle to its size and
    sha256; `parent` is the release that was live when this one was staged.
    """

    release_id: str
    schema_version: int
    created_at: str
    git_commit: str
    intarsia_version: str
    parent: str | None
    num_products: int
    stats_as_of: str | None
    space_ids: Mapping[str, str]
    feature_fingerprint: str
    parts: Mapping[str, str]
    files: Mapping[str, FileDigest]

    def save(self, folder: Path) -> None:
        """Write `manifest.json` and its seal."""
        write_json(folder / FILE, to_jsonable(self))
        (folder / SEAL).write_bytes(_seal((folder / FILE).read_bytes()))

    @classmethod
    def open(cls, folder: Path) -> Manifest:
        """Read `manifest.json`.

        Raises:
            ArtifactError: it is missing, changed, or of a schema this code does not read.
        """
        path, seal = folder / FILE, folder / SEAL
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ArtifactError(
                f"{folder} is not a release: it has no {FILE}; stage one with pipelines.stage_release"
            ) from None
        if not seal.is_file() or seal.read_bytes() != _seal(content):
            raise ArtifactError(
                f"{path} and {SEAL} beside it do not belong together: one is missing or has changed; "
                "stage the release again or roll back"
            )
        values = json.loads(content)
        if values["schema_version"] != SCHEMA_VERSION:
            raise ArtifactError(
                f"{path} has schema {values['schema_version']}; this code reads {SCHEMA_VERSION}: stage the release again"
            )
        return build(cls, values, where=str(path))

    @property
    def id(self) -> ReleaseId:
        """The release id."""
        return ReleaseId(self.release_id)


def _seal(content: bytes) -> bytes:
    return f"{sha256_bytes(content)}  {FILE}\n".encode()
