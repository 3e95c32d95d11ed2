"""Open a release of a lake for search, in this process."""

from __future__ import annotations

from pathlib import Path

from intarsia.engine.search import SearchEngine
from intarsia.release.bundle import open_bundle
from intarsia.release.pointer import Pointer


def open_release(lake: str | Path, release: str = "live") -> SearchEngine:
    """Open a release of a lake: check every file's digest, and load encoders, indexes, fuser and ranker.

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
