"""Make the staged release live if it passes the gate; `to=previous` rolls back to the release before."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from intarsia.config import build, setting
from intarsia.features.default_set import FEATURES
from intarsia.ids import ReleaseId
from intarsia.lake import Lake, write_json
from intarsia.release.bundle import verify
from intarsia.release.pointer import Pointer, read_staged
from intarsia.release.promotion_gate import Evidence, ReleaseRefused, check_promotion
from pipelines.job import Counts, Job, JobProgress, main


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteReleaseConfig:
    """Which release to make live."""

    to: str = setting(
        "`staged`: the staged release, through the gate; `previous`: roll back; or a release id, which skips the gate",
        "staged",
    )
    allow_uncompared: bool = setting(
        "promote the staged release although it could not be compared with the live one, which this code cannot open; "
        "the promotion's record notes it",
        False,
        advanced=True,
    )


def run(config: PromoteReleaseConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Check the release, then move the pointer; a refused release leaves the pointer unchanged."""
    releases = lake.root / "releases"
    pointer = Pointer(releases)
    before = pointer.live()
    if config.to == "staged":
        release_id = read_staged(lake)
        manifest = verify(releases / release_id)
        if pointer.was_rolled_back(release_id):
            raise ReleaseRefused(
                f"release {release_id} was rolled back; change something, or promote it with to={release_id}"
            )
        if release_id == before:
            checks: Mapping[str, str] = {"gate": "it is live already"}
        else:
            checks = check_promotion(
                build(Evidence, json.loads((lake.current("evaluation").path / "evidence.json").read_text())),
                release_id=release_id,
                live=before,
                feature_fingerprint=FEATURES.fingerprint,
                manifest_fingerprint=manifest.feature_fingerprint,
                allow_uncompared=config.allow_uncompared,
            )
    else:
        release_id = pointer.previous() if config.to == "previous" else ReleaseId(config.to)
        verify(releases / release_id)
        checks = {"gate": f"skipped: to={config.to}"}
    if release_id != before:
        pointer.move(release_id, at=datetime.now(UTC), why=config.to)
    progress("pointer", 1, 1)
    with lake.publish("promotion") as folder:
        write_json(folder / "promotion.json", {"live": release_id, "before": before, "checks": dict(checks)})
    return {"live": release_id, "before": before or "nothing", **checks}


JOB = Job(
    name="promote_release",
    summary="the staged release -> live, if it passes the gate; `to=previous` rolls back",
    config=PromoteReleaseConfig,
    reads=("staged_release", "evaluation"),
    writes=("promotion",),
    needs_ray=False,
    always=True,
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
