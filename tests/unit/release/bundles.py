"""Bundles with small placeholder parts; the engine cannot open them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from intarsia.engine.search import PARTS
from intarsia.ids import ReleaseId
from intarsia.lake import Entry, Lake
from intarsia.release.bundle import Provenance, write_bundle
from intarsia.release.manifest import Manifest

PROVENANCE = Provenance(
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    git_commit="0" * 40,
    parent=None,
    num_products=3,
    stats_as_of=datetime(2025, 12, 31, tzinfo=UTC),
    space_ids={"text": "space-t", "image": "space-i"},
    feature_fingerprint="f" * 64,
)


def put_parts(lake: Lake, **changed: str) -> dict[str, Entry]:
    """Publish every part with two files; `changed` sets the content of a part."""
    for name in PARTS:
        with lake.publish(name) as folder:
            (folder / "deep").mkdir()
            (folder / f"{name}.bin").write_text(changed.get(name, f"the {name}"))
            (folder / "deep" / "more.bin").write_bytes(b"\x00\x01")
    return {name: lake.current(name) for name in PARTS}


def put_bundle(lake: Lake, *, parent: ReleaseId | None = None, **changed: str) -> tuple[Path, Manifest]:
    """A bundle of these parts, and its folder."""
    releases = lake.root / "releases"
    manifest = write_bundle(releases, put_parts(lake, **changed), replace(PROVENANCE, parent=parent))
    return releases / manifest.release_id, manifest
