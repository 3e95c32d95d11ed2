"""The comparison with methods fitted by Ray workers has the same figures as in one process."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from intarsia.evaluation.method_comparison import ComparisonConfig
from intarsia.lake import Lake
from pipelines.compare_fusions import COMPARISON_ENTRY, JOB, CompareFusionsConfig, run
from pipelines.job import JobProgress
from tests.unit.engine.small_release import FLOORS, shop

CONFIG = CompareFusionsConfig(
    engine=FLOORS,
    kinds=("weighted", "boosting", "average"),
    settings={"average": {"num_folds": 0, "joint": {"num_steps": 2, "width": 8, "measure_every": 2}}},
    missing=(),
    comparison=ComparisonConfig(num_resamples=20, num_permutations=20),
    num_workers=2,
)


@pytest.mark.usefixtures("cluster")
def test_workers_and_one_process_give_the_same_figures(tmp_path: Path) -> None:
    values = {}
    for name, config in (("workers", CONFIG), ("one process", dataclasses.replace(CONFIG, num_workers=1))):
        lake = Lake(tmp_path / name)
        lake.root.mkdir()
        for entry in JOB.reads:
            (lake.root / entry).symlink_to(shop().lake.root / entry)
        counts = run(config, lake, JobProgress("compare_fusions"))
        assert counts["failed"] == 0
        values[name] = json.loads(
            (lake.current(COMPARISON_ENTRY).path / "fusion_comparison.json").read_text(encoding="utf-8")
        )["values"]
        assert not list((lake.root / COMPARISON_ENTRY).glob(".staging-*")), "the workers' folder is removed"
    assert {"average with scores", "average", "boosting", "text only"} <= set(values["workers"])
    assert values["workers"] == values["one process"]
