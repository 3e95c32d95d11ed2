"""The manifest of a release bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from intarsia.config import build, to_jsonable
from intarsia.errors import ArtifactError, ConfigError
from intarsia.ids import ReleaseId, sha256_bytes
from intarsia.lake import read_json_object, write_json

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
MANIFEST_DIGEST_FILE = "manifest.sha256"
"""The manifest's own digest, in the format of `sha256sum -c`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigest:
    """Size and sha256 of one file of the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The parts and files of a release, with the digests that detect any changed byte.

    Attributes:
        release_id: computed from the digests of the parts and the feature fingerprint.
        schema_version: version of this format.
        created_at: when it was staged, ISO 8601.
        git_commit: commit of the code, or `unknown`.
        intarsia_version: version of the library.
        parent: the release that was live when this one was staged.
        num_products: size of the catalog.
        stats_as_of: time of the product statistics, ISO 8601.
        space_ids: vector space of each index.
        feature_fingerprint: fingerprint of the ranker's features.
        parts: digest of the lake entry that each part was copied from.
        files: size and sha256 of each file, by its path in the bundle.
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
        """Write `manifest.json` and its digest file."""
        write_json(folder / MANIFEST_FILE, to_jsonable(self))
        (folder / MANIFEST_DIGEST_FILE).write_bytes(_digest_line((folder / MANIFEST_FILE).read_bytes()))

    @classmethod
    def open(cls, folder: Path) -> Manifest:
        """Read `manifest.json`.

        Raises:
            ArtifactError: it is missing, has changed, or has a schema that this code does not read.
        """
        path, digest_path = folder / MANIFEST_FILE, folder / MANIFEST_DIGEST_FILE
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise ArtifactError(
                f"{folder} is not a release: it has no {MANIFEST_FILE}; stage one with `intarsia job stage_release`"
            ) from None
        if not digest_path.is_file() or digest_path.read_bytes() != _digest_line(content):
            raise ArtifactError(
                f"{path} does not match {MANIFEST_DIGEST_FILE} in its folder: one is missing or has changed; "
                "stage the release again or roll back"
            )
        values = read_json_object(path, ("schema_version",), fix="stage the release again or roll back")
        if values["schema_version"] != SCHEMA_VERSION:
            raise ArtifactError(
                f"{path} has schema {values['schema_version']}; this code reads {SCHEMA_VERSION}: "
                "stage the release again"
            )
        try:
            return build(cls, values, where=str(path))
        except ConfigError as error:
            raise ArtifactError(f"{error}. Fix: stage the release again or roll back") from None

    @property
    def id(self) -> ReleaseId:
        """`release_id` as its NewType."""
        return ReleaseId(self.release_id)


def _digest_line(content: bytes) -> bytes:
    return f"{sha256_bytes(content)}  {MANIFEST_FILE}\n".encode()
