"""Write a release bundle atomically, and open one only when the digest of every file matches its manifest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from intarsia import __version__
from intarsia.engine.search import PARTS, SearchEngine
from intarsia.errors import ArtifactError
from intarsia.ids import ReleaseId, sha256_file, sha256_json, sha256_tree, short
from intarsia.lake import Entry, staging_dir
from intarsia.release.manifest import MANIFEST_DIGEST_FILE, MANIFEST_FILE, SCHEMA_VERSION, FileDigest, Manifest
from intarsia.release.pointer import Pointer


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The fields of the manifest that are not computed from the bundle's files; see `Manifest`."""

    created_at: datetime
    git_commit: str
    parent: ReleaseId | None
    num_products: int
    stats_as_of: datetime | None
    space_ids: Mapping[str, str]
    feature_fingerprint: str


def write_bundle(releases: Path, entries: Mapping[str, Entry], provenance: Provenance) -> Manifest:
    """Copy the parts (hard links if the file system allows) and write the manifest.

    The same parts give the same release id.

    Args:
        releases: folder with one folder per release.
        entries: the lake's current entry of every part in `PARTS`.
        provenance: the other fields of the manifest.

    Returns:
        The manifest. An existing release of the same id is kept if it verifies, and written again otherwise.

    Raises:
        ArtifactError: the files of a part have changed since its entry was published.
    """
    assert set(entries) == set(PARTS), "a bundle has all parts and no others"
    parts = {name: entry.digest for name, entry in entries.items()}
    release_id = ReleaseId(f"r-{short(sha256_json({'parts': parts, 'features': provenance.feature_fingerprint}))}")
    home = releases / release_id
    if home.exists():
        try:
            return verify(home)
        except ArtifactError:
            shutil.rmtree(home)
    with staging_dir(releases) as staging:
        for name, entry in entries.items():
            shutil.copytree(entry.path, staging / name, copy_function=_link_or_copy)
            if sha256_tree(staging / name) != entry.digest:
                raise ArtifactError(
                    f"{name} in the lake ({entry.path}) has changed since it was published; run its job with --force"
                )
        manifest = Manifest(
            release_id=release_id,
            schema_version=SCHEMA_VERSION,
            created_at=provenance.created_at.isoformat(),
            git_commit=provenance.git_commit,
            intarsia_version=__version__,
            parent=provenance.parent,
            num_products=provenance.num_products,
            stats_as_of=provenance.stats_as_of.isoformat() if provenance.stats_as_of else None,
            space_ids=dict(provenance.space_ids),
            feature_fingerprint=provenance.feature_fingerprint,
            parts=parts,
            files=_digests(staging),
        )
        manifest.save(staging)
        staging.rename(home)
    return manifest


def verify(folder: Path) -> Manifest:
    """The manifest of a bundle, after checking that its files are exactly those of the manifest.

    Raises:
        ArtifactError: the folder is not named after its release, or a file (the first one is named) is missing, has
            changed, or is not in the manifest.
    """
    manifest = Manifest.open(folder)
    if folder.absolute().name != manifest.release_id:
        raise ArtifactError(
            f"{folder} holds release {manifest.release_id}, and the folder of a release has its id as name; "
            f"rename the folder to {manifest.release_id}, or stage the release again"
        )
    actual = _digests(folder)
    for path, expected in manifest.files.items():
        if path not in actual:
            raise ArtifactError(
                f"release {manifest.release_id}: {path} is missing; stage the release again or roll back"
            )
        if actual[path] != expected:
            raise ArtifactError(
                f"release {manifest.release_id}: {path} has sha256 {short(actual[path].sha256)}, the manifest has "
                f"{short(expected.sha256)}; stage the release again or roll back"
            )
    if extra := sorted(set(actual) - set(manifest.files)):
        raise ArtifactError(f"release {manifest.release_id}: {extra[0]} is not in the manifest; remove it")
    return manifest


def open_bundle(folder: Path) -> SearchEngine:
    """Verify every digest, then open the three stages of a release."""
    manifest = verify(folder)
    return SearchEngine.open(folder, release_id=manifest.id)


def open_release(lake: str | Path, release: str = "live") -> SearchEngine:
    """Open a release of a lake in this process, after verifying every digest.

    Args:
        lake: folder of the lake.
        release: `live`, or the id of a release in `<lake>/releases`.

    Raises:
        ArtifactError: no release is live, or a file of it is missing or changed.

    Example:
        from intarsia import Query, open_release

        engine = open_release("lake/demo")
        [page] = engine.search([Query(text="red sneakers", limit=3)])
    """
    releases = Path(lake) / "releases"
    folder = Pointer(releases).live_folder() if release == "live" else releases / release
    return open_bundle(folder)


def _digests(folder: Path) -> dict[str, FileDigest]:
    excluded = (folder / MANIFEST_FILE, folder / MANIFEST_DIGEST_FILE)
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p not in excluded)
    return {p.relative_to(folder).as_posix(): FileDigest(bytes=p.stat().st_size, sha256=sha256_file(p)) for p in paths}


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
