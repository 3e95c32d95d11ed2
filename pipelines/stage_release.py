"""Copy the current artefacts of the lake into an immutable release bundle in `<lake>/releases/`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from intarsia.engine.retrieve import stored_spaces
from intarsia.engine.search import PARTS
from intarsia.errors import ArtifactError
from intarsia.features.default_set import FEATURES
from intarsia.features.stats import ProductStats
from intarsia.lake import Lake
from intarsia.release.bundle import Provenance, open_bundle, verify, write_bundle
from intarsia.release.pointer import STAGED_ENTRY, Pointer, read_staged, write_staged
from pipelines.job import Counts, Job, JobProgress, main


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReleaseConfig:
    """No settings: a release contains the current artefacts of the lake."""


def run(config: StageReleaseConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Copy the parts, write the manifest, and open the bundle once to check that it can serve."""
    releases = lake.root / "releases"
    entries = {name: lake.current(name) for name in PARTS}
    stats = ProductStats.open(entries["product_stats"].path)
    manifest = write_bundle(
        releases,
        entries,
        Provenance(
            created_at=datetime.now(UTC),
            git_commit=_git_commit(),
            parent=Pointer(releases).live(),
            num_products=int(lake.current("indexes").notes["num_products"]),
            stats_as_of=stats.as_of,
            space_ids=stored_spaces(entries["indexes"].path),
            feature_fingerprint=FEATURES.fingerprint,
        ),
    )
    progress("files", len(manifest.files), len(manifest.files))
    engine = open_bundle(releases / manifest.release_id)
    with lake.publish(STAGED_ENTRY) as folder:
        write_staged(folder, manifest.id)
    num_bytes = sum(file.bytes for file in manifest.files.values())
    return {
        "release": manifest.release_id,
        "products": engine.columns.num_rows,
        "files": len(manifest.files),
        "mb": num_bytes / 1e6,
    }


def is_staged(lake: Lake) -> bool:
    """Whether the release that was staged last is complete and unchanged."""
    try:
        verify(lake.root / "releases" / read_staged(lake))
    except ArtifactError:
        return False
    return True


def _git_commit() -> str:
    folder = Path(__file__).parent
    result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else "unknown"


JOB = Job(
    name="stage_release",
    summary="the current artefacts -> one immutable release bundle, every file's sha256 in its manifest",
    config=StageReleaseConfig,
    reads=PARTS,
    writes=(STAGED_ENTRY,),
    outputs_intact=is_staged,
    needs_ray=False,
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
