"""The job `promote_release` on bundles with placeholder parts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from intarsia.config import to_jsonable
from intarsia.errors import ArtifactError
from intarsia.features.default_set import FEATURES
from intarsia.ids import ReleaseId
from intarsia.lake import Lake, write_json
from intarsia.release.bundle import write_bundle
from intarsia.release.pointer import Pointer
from intarsia.release.promotion_gate import Evidence, ReleaseRefused
from pipelines.job import JobProgress
from pipelines.promote_release import JOB, PromoteReleaseConfig
from tests.unit.release.bundles import PROVENANCE, put_parts

BETTER, WORSE = (0.02, 0.01, 0.03), (-0.02, -0.03, -0.01)


def stage(lake: Lake, ranker: str) -> ReleaseId:
    """Stage a bundle whose ranker is this text."""
    releases = lake.root / "releases"
    provenance = replace(PROVENANCE, feature_fingerprint=FEATURES.fingerprint, parent=Pointer(releases).live())
    manifest = write_bundle(releases, put_parts(lake, ranker=ranker), provenance)
    with lake.publish("staged_release") as folder:
        write_json(folder / "release.json", {"release_id": manifest.release_id})
    return manifest.id


def evaluate(
    lake: Lake, release_id: str, against_live: tuple[float, float, float] | None, *, why_not_opened: str = ""
) -> None:
    """Publish the evidence of an evaluation with this outcome."""
    evidence = Evidence(
        release_id=release_id,
        metric="ndcg@10",
        num_queries=9,
        live=live(lake) if against_live or why_not_opened else None,
        against_live=against_live,
        why_not_opened=why_not_opened,
    )
    with lake.publish("evaluation") as folder:
        write_json(folder / "evidence.json", to_jsonable(evidence))


def promote(lake: Lake, to: str = "staged", *, allow_uncompared: bool = False) -> dict[str, Any]:
    config = PromoteReleaseConfig(to=to, allow_uncompared=allow_uncompared)
    return dict(JOB.run(config, lake, JobProgress("promote_release")))


def live(lake: Lake) -> str | None:
    return Pointer(lake.root / "releases").live()


@pytest.fixture
def two(lake: Lake) -> tuple[ReleaseId, ReleaseId]:
    """Two promoted releases; the second is live and staged."""
    first = stage(lake, "first")
    evaluate(lake, first, None)
    promote(lake)
    second = stage(lake, "second")
    evaluate(lake, second, BETTER)
    promote(lake)
    return first, second


def test_the_first_release_goes_live(lake: Lake) -> None:
    release_id = stage(lake, "first")
    evaluate(lake, release_id, None)
    counts = promote(lake)
    assert live(lake) == counts["live"] == release_id
    assert (counts["before"], counts["against live"]) == ("nothing", "nothing is live")
    record = json.loads((lake.current("promotion").path / "promotion.json").read_text())
    assert (record["live"], record["before"]) == (release_id, None)


def test_a_better_release_replaces_the_live_one(lake: Lake, two: tuple[ReleaseId, ReleaseId]) -> None:
    assert live(lake) == two[1]


def test_promoting_the_live_release_again_changes_nothing(lake: Lake, two: tuple[ReleaseId, ReleaseId]) -> None:
    pointer = lake.root / "releases" / "live.json"
    before = pointer.read_bytes()
    promote(lake)
    assert pointer.read_bytes() == before


def test_a_worse_release_is_refused_and_the_live_one_stays(lake: Lake, two: tuple[ReleaseId, ReleaseId]) -> None:
    evaluate(lake, stage(lake, "third"), WORSE)
    with pytest.raises(ReleaseRefused, match="is worse than the live one beyond the interval"):
        promote(lake)
    assert live(lake) == two[1]


def test_an_uncompared_release_goes_live_only_if_allowed(lake: Lake, two: tuple[ReleaseId, ReleaseId]) -> None:
    third = stage(lake, "third")
    evaluate(lake, third, None, why_not_opened="trained on other features")
    with pytest.raises(
        ReleaseRefused, match=rf"{third} was not compared with the live {two[1]}: .*allow_uncompared=true"
    ):
        promote(lake)
    assert live(lake) == two[1]
    promote(lake, allow_uncompared=True)
    assert live(lake) == third
    record = json.loads((lake.current("promotion").path / "promotion.json").read_text())
    assert record["checks"]["against live"].startswith(f"not compared with {two[1]}, as allow_uncompared=true allows: ")
    assert "trained on other features" in record["checks"]["against live"]


def test_an_evaluation_of_another_release_is_refused(lake: Lake, two: tuple[ReleaseId, ReleaseId]) -> None:
    stage(lake, "third")
    with pytest.raises(ReleaseRefused, match=f"the evaluation is of {two[1]}, not of"):
        promote(lake)
    assert live(lake) == two[1]


def test_rolling_back_skips_the_gate(lake: Lake, two: tuple[ReleaseId, ReleaseId]) -> None:
    counts = promote(lake, to="previous")
    assert live(lake) == two[0]
    assert (counts["before"], counts["gate"]) == (two[1], "skipped: to=previous")


def test_a_rolled_back_release_is_not_promoted_as_staged(lake: Lake, two: tuple[ReleaseId, ReleaseId]) -> None:
    promote(lake, to="previous")
    with pytest.raises(ReleaseRefused, match=f"release {two[1]} was rolled back; .* or promote it with to={two[1]}"):
        promote(lake)
    assert live(lake) == two[0]
    promote(lake, to=two[1])
    assert live(lake) == two[1]


@pytest.mark.parametrize("to", ["staged", "previous"])
def test_a_damaged_release_never_goes_live(lake: Lake, two: tuple[ReleaseId, ReleaseId], to: str) -> None:
    for release_id in two:
        damage(lake.root / "releases" / release_id / "ranker" / "ranker.bin")
    with pytest.raises(ArtifactError, match=r"ranker/ranker\.bin has sha256"):
        promote(lake, to=to)
    assert live(lake) == two[1]


def test_an_unknown_release_is_refused(lake: Lake, two: tuple[ReleaseId, ReleaseId]) -> None:
    with pytest.raises(ArtifactError, match=r"r-none is not a release: it has no manifest\.json"):
        promote(lake, to="r-none")
    assert live(lake) == two[1]


def damage(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"torn")
