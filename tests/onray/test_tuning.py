"""Searches whose measure reports several times, and their early stopping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from intarsia.onray.tuning import PointSearch, TrialsConfig, run_search

STEPS = 9


def climb(point: Mapping[str, float], data: float) -> Iterator[dict[str, float]]:
    """Reports x in nine steps; a point above 0.98 raises an error, one below 0.02 reports nothing."""
    for step in range(1, STEPS + 1):
        if point["x"] > 0.98 and step == 2:
            raise ValueError("failed")
        if point["x"] < 0.02:
            return
        yield {"y": data * point["x"] * step / STEPS, "step": float(step)}


@pytest.mark.usefixtures("cluster")
def test_poor_points_are_stopped_early_and_the_best_is_not(tmp_path: Path) -> None:
    xs = [0.9, 0.3, 0.8, 0.2, 0.5, 0.1, 0.99, 0.01]
    search = PointSearch(
        measure=climb,
        data=2.0,
        space={"x": tune.uniform(0.0, 1.0)},
        maximise="y",
        worst=-1.0,
        first_points=[{"x": x} for x in xs],
        num_trials=len(xs),
        num_at_once=1,
        seed=1,
        trials=TrialsConfig(first_stop=2, keep_one_of=3, max_reports=STEPS, cpus_per_trial=0.5),
    )
    trials = {trial.point["x"]: trial for trial in run_search(search, folder=tmp_path, identity="climb")}
    assert list(trials) == xs
    best = trials[0.9]
    assert best.figures == {"y": pytest.approx(1.8), "step": 9.0}
    assert (best.stopped, best.num_reports) == (False, STEPS)
    assert trials[0.1].stopped and trials[0.1].num_reports == 2
    assert trials[0.1].figures == {"y": pytest.approx(2.0 * 0.1 * 2 / STEPS), "step": 2.0}
    assert sum(trial.num_reports for trial in trials.values()) < 4 * STEPS
    assert (trials[0.99].error, trials[0.99].figures, trials[0.99].stopped) == ("ValueError: failed", None, False)
    assert trials[0.01].error == "the measure reported nothing"
    assert list(tmp_path.iterdir()) == [], "the state of Tune is removed"


def double(point: Mapping[str, float], data: float) -> dict[str, float]:
    return {"y": data * point["x"]}


@pytest.mark.usefixtures("cluster")
def test_a_search_removes_older_searches_of_its_own_job_only(tmp_path: Path) -> None:
    stopped = ("ranks.0a", "fuses.0b", "fuses.0c-fitted", "of nobody")
    for name in stopped:
        (tmp_path / ".tune" / name).mkdir(parents=True)
    search = PointSearch(
        measure=double,
        data=2.0,
        space={"x": tune.uniform(0.0, 1.0)},
        maximise="y",
        worst=0.0,
        first_points=[],
        num_trials=1,
        num_at_once=1,
        seed=1,
    )
    run_search(search, folder=tmp_path, identity="0c", job="fuses")
    assert {path.name for path in (tmp_path / ".tune").iterdir()} == {"ranks.0a", "fuses.0c-fitted", "of nobody"}
    run_search(search, folder=tmp_path, identity="0d", job="fuses")
    assert {path.name for path in (tmp_path / ".tune").iterdir()} == {"ranks.0a", "of nobody"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cpus_per_trial": -1.0}, "cpus_per_trial is -1.0; allowed: 0.0 or more"),
        ({"first_stop": 0}, "first_stop is 0; allowed: 1 or more"),
        ({"keep_one_of": 1}, "keep_one_of is 1; allowed: 2 or more"),
        ({"first_stop": 9, "max_reports": 8}, "first_stop is 9; allowed: at most max_reports, 8"),
    ],
)
def test_a_setting_out_of_range_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrialsConfig(**values)
