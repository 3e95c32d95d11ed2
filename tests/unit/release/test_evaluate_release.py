"""The jobs `stage_release`, `evaluate_release` and `promote_release` on the small shop's parts, in this process."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intarsia.engine.search import PARTS
from intarsia.evaluation.evaluate import EvaluationConfig
from intarsia.experiments.text_only_fusion import save_text_only
from intarsia.features.default_set import FEATURES
from intarsia.fusion.spec import FusionSpec
from intarsia.ids import QueryId, ReleaseId, sha256_bytes
from intarsia.lake import Lake, write_json
from intarsia.ranking.lightgbm_ranker import RANKER_HEADER
from intarsia.records.judgment import JudgedQuery, Judgment
from intarsia.release.bundle import verify, write_bundle
from intarsia.release.manifest import FileDigest, Manifest
from intarsia.release.pointer import STAGED_ENTRY, Pointer, read_staged, write_staged
from intarsia.release.promotion_gate import ReleaseRefused
from intarsia.tables.judgments import JUDGMENTS, QUERIES, judgment_to_row, query_to_row
from pipelines.evaluate_release import JOB as EVALUATE
from pipelines.evaluate_release import EvaluateReleaseConfig
from pipelines.job import run_job
from pipelines.promote_release import JOB as PROMOTE
from pipelines.promote_release import PromoteReleaseConfig
from pipelines.stage_release import JOB as STAGE
from pipelines.stage_release import StageReleaseConfig, is_staged
from tests.shop import products, small_shop
from tests.unit.release.bundles import PROVENANCE

WORDS = ("red mug", "blue dress", "蓝色 连衣裙")


pytestmark = pytest.mark.slow


@pytest.fixture
def parts(tmp_path: Path) -> Lake:
    """The shop's parts with judged queries; nothing is staged."""
    lake = Lake(tmp_path / "lake")
    shutil.copytree(small_shop().root, lake.root, ignore=shutil.ignore_patterns("releases"))
    notes = {"num_products": len(products())}
    with lake.publish("indexes", notes) as folder:
        shutil.copytree(small_shop().current("indexes").path, folder, dirs_exist_ok=True)
    with lake.publish("fusion_spec") as folder:
        shutil.copytree(small_shop().current("fusion_spec").path, folder, dirs_exist_ok=True)
        write_json(folder / "trials.json", {"trials": []})
    queries = [
        JudgedQuery(query_id=QueryId(f"q{number}"), text=text, image=None, locale="en", split="test")
        for number, text in enumerate(WORDS)
    ]
    with lake.publish("queries") as folder:
        QUERIES.write_part(QUERIES.from_rows([query_to_row(query) for query in queries]), folder, 0)
    publish_judgments(lake, grade=3)
    return lake


def publish_judgments(lake: Lake, *, grade: float) -> None:
    """Products whose title has the first word of a query get this grade for it."""
    judgments = [
        Judgment(query_id=QueryId(f"q{number}"), product_id=product.product_id, grade=grade)
        for number, text in enumerate(WORDS)
        for product, _ in products()
        if text.split()[0] in product.title
    ]
    with lake.publish("judgments") as folder:
        JUDGMENTS.write_part(JUDGMENTS.from_rows([judgment_to_row(judgment) for judgment in judgments]), folder, 0)


def change_ranker(lake: Lake, note: str, **facts: Any) -> None:
    """Publish the same trees with another note and further facts: another release with the same results."""
    before = lake.current("ranker").path
    with lake.publish("ranker") as folder:
        shutil.copytree(before, folder, dirs_exist_ok=True)
        write_json(folder / RANKER_HEADER, {**json.loads((before / RANKER_HEADER).read_text()), "note": note, **facts})


def staged(lake: Lake) -> ReleaseId:
    """Stage a release by its job."""
    run_job(STAGE, StageReleaseConfig(), lake)
    return read_staged(lake)


def bundled(lake: Lake) -> ReleaseId:
    """Stage a release without opening it, which takes a second."""
    releases = lake.root / "releases"
    entries = {name: lake.current(name) for name in PARTS}
    provenance = replace(PROVENANCE, feature_fingerprint=FEATURES.fingerprint, parent=Pointer(releases).live())
    manifest = write_bundle(releases, entries, provenance)
    with lake.publish(STAGED_ENTRY) as folder:
        write_staged(folder, manifest.id)
    return manifest.id


def evaluated(lake: Lake) -> dict[str, Any]:
    """The evidence of the staged release."""
    run_job(EVALUATE, EvaluateReleaseConfig(evaluation=EvaluationConfig(metrics=("ndcg@10",), num_resamples=100)), lake)
    evidence: dict[str, Any] = json.loads((lake.current("evaluation").path / "evidence.json").read_text())
    return evidence


def promoted(lake: Lake, *, allow_uncompared: bool = False) -> str:
    """Promote the staged release; returns the gate's check against the live one."""
    run_job(PROMOTE, PromoteReleaseConfig(allow_uncompared=allow_uncompared), lake)
    checks: dict[str, str] = json.loads((lake.current("promotion").path / "promotion.json").read_text())["checks"]
    return checks["against live"]


def set_other_features(folder: Path) -> None:
    """Change a release as if code with other features had made it."""
    header = folder / "ranker" / RANKER_HEADER
    values = {**json.loads(header.read_text()), "feature_fingerprint": "e" * 64}
    header.unlink()  # it may be hard-linked to the lake's file
    write_json(header, values)
    content = header.read_bytes()
    manifest = Manifest.open(folder)
    digest = FileDigest(bytes=len(content), sha256=sha256_bytes(content))
    replace(manifest, files={**manifest.files, f"ranker/{RANKER_HEADER}": digest}).save(folder)


def test_a_staged_release_with_a_missing_file_is_staged_again(parts: Lake) -> None:
    release_id = staged(parts)
    folder = parts.root / "releases" / release_id
    assert not run_job(STAGE, StageReleaseConfig(), parts)
    shutil.rmtree(folder)
    assert run_job(STAGE, StageReleaseConfig(), parts)
    assert verify(folder).id == release_id
    model = folder / "ranker" / "model.txt"
    model.unlink()
    model.write_bytes(b"torn")
    assert not is_staged(parts)


@pytest.mark.parametrize("share", [-0.1, 0.0, 1.0, 90.0, 0.104])
def test_a_share_of_missing_images_is_a_whole_percent(share: float) -> None:
    with pytest.raises(ValueError, match=r"missing_images has .*; allowed: whole percents between 0 and 1"):
        EvaluateReleaseConfig(missing_images=(0.5, share))


def test_the_report_shows_the_learning_curve_of_the_ranker(parts: Lake) -> None:
    change_ranker(parts, "curved", learning_curve=[0.25, 0.75, 0.5], best_iteration=2)
    bundled(parts)
    evaluated(parts)
    folder = parts.current("evaluation").path
    row = "| ranker | validation nDCG@10 | 3 trees | 0.250 | 0.500 | 0.750 | 2 | 2 |"
    assert row in (folder / "report.md").read_text(encoding="utf-8")
    assert ">kept: tree 2</text>" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_release_is_compared_with_the_text_only_fusion(parts: Lake) -> None:
    before = parts.current("fusion_spec").path
    with parts.publish("fusion_spec") as folder:
        shutil.copytree(before, folder, dirs_exist_ok=True)
        save_text_only(FusionSpec(kind="convex", weights={"bm25": 1.0, "text": 0.0}), folder)
    bundled(parts)
    evidence = evaluated(parts)
    missing = [f", {share}% of images missing" for share in (10, 25, 50, 75, 90)]
    assert list(evidence["text_only"]) == ["fused", *(f"fused{suffix}" for suffix in missing)]
    assert list(evidence["missing_images"]) == ["ranked", *(f"ranked{suffix}" for suffix in missing)]
    folder = parts.current("evaluation").path
    values = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["values"]
    assert values["text only"] == values["bm25"]
    gain = np.mean(values["fused"]) - np.mean(values["text only"])
    assert evidence["text_only"]["fused"][0] == pytest.approx(gain)
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert "| ranked | text only | " in report and "| fused | text only | " in report
    rows = [line.split(" | ")[0] for line in report.splitlines() if " % | " in line]
    assert rows[-7:] == [f"| {share} %" for share in (0, 10, 25, 50, 75, 90, 100)]


def test_a_live_release_that_cannot_be_opened_is_compared_by_figures(
    parts: Lake,
) -> None:
    releases = parts.root / "releases"
    first = bundled(parts)
    evaluated(parts)
    assert promoted(parts) == "nothing is live"
    set_other_features(releases / first)

    change_ranker(parts, "second")
    second = bundled(parts)
    evidence = evaluated(parts)
    assert (evidence["live"], evidence["against_live"]) == (first, [0.0, 0.0, 0.0])
    assert "the ranker was trained on features eeeeeeeeeeee" in evidence["why_not_opened"]
    report = (parts.current("evaluation").path / "report.md").read_text()
    assert "| ranked | live release at its own evaluation | +0.000 [+0.000, +0.000] |" in report

    publish_judgments(parts, grade=1)  # its figures are of other judgments
    shutil.rmtree(releases / first)
    evidence = evaluated(parts)
    assert (evidence["live"], evidence["against_live"]) == (first, None)
    assert "is not a release" in evidence["why_not_opened"]
    with pytest.raises(ReleaseRefused, match=f"was not compared with the live {first}: .*allow_uncompared=true"):
        promoted(parts)
    assert Pointer(releases).live() == first
    assert promoted(parts, allow_uncompared=True).startswith(f"not compared with {first}, as allow_uncompared=true")
    assert Pointer(releases).live() == second
