"""Which release was staged last: the small lake entry between staging, evaluating and promoting."""

from __future__ import annotations

import json
from pathlib import Path

from intarsia.ids import ReleaseId
from intarsia.lake import Lake, write_json
from intarsia.release.manifest import Manifest
from intarsia.release.pointer import Pointer

ENTRY = "staged_release"
_FILE = "release.json"


def write_staged(folder: Path, release_id: ReleaseId) -> None:
    """Fill the entry."""
    write_json(folder / _FILE, {"release_id": release_id})


def read_staged(lake: Lake) -> ReleaseId:
    """The staged release.

    Raises:
        ArtifactError: none was staged.
    """
    content = json.loads((lake.current(ENTRY).path / _FILE).read_text(encoding="utf-8"))
    return ReleaseId(content["release_id"])


def rival(lake: Lake) -> ReleaseId | None:
    """The release that the staged one has to be compared with: the live one, or, when it is live itself, the one before it."""
    releases = lake.root / "releases"
    staged, live = read_staged(lake), Pointer(releases).live()
    if live != staged:
        return live
    parent = Manifest.open(releases / staged).parent
    return ReleaseId(parent) if parent is not None else None
