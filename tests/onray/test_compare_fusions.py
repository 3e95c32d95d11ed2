"""The arena with its contenders fitted by Ray's workers: the same figures as in one process."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from intarsia.evaluation.method_comparison import ComparisonConfig
from intarsia.lake import Lake
from pipelines.compare_fusions import ENTRY, JOB, CompareFusionsConfig, run
from pipelines.job import Progress
from tests.unit.engine.small_release import FLOORS, shop

CONFIG = CompareFusionsConfig(
    engine=FLOORS,
    kinds=("weighted", "boosting", "average"),
    settings={"average": {"num_folds": 0, "joint": {"num_steps": 2, "width": 8, "measure_every": 2}}},
    missing=(),
    arena=ComparisonConfig(num_resamples=20, num_permutations=20),
    num_workers=2,
)


@pytest.mark.usefixtures("cluster")
def test_workers_fit_what_one_process_fits(tmp_path: Path) -> None:
    values = {}
    for name, config in (("workers", CONFIG), ("alone", dataclasses.replace(CONFIG, num_workers=1))):
        lake = Lake(tmp_path / name)
        lake.root.mkdir()
        for entry in JOB.reads:
            (lake.root / entry).symlink_to(shop().lake.root / entry)
        counts = run(config, lake, Progress("compare_fusions"))
        assert counts["failed"] == 0
        values[name] = json.loads((lake.current(ENTRY).path / "arena.json").read_text(encoding="utf-8"))["values"]
        assert not list((lake.root / ENTRY).glob(".staging-*")), "nothing of the workers stays behind"
    assert {"average beside", "average", "boosting", "text only"} <= set(values["workers"])
    assert values["workers"] == values["alone"]
