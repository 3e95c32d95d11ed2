"""A search whose process is killed goes on where it stood when it is asked for again under the same name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from ray import tune

from intarsia.lake import write_json
from intarsia.onray.session import SessionConfig, ray_session
from intarsia.onray.tuning import PointSearch, run_search
from tests.killed_process import kill_session

NUM_TRIALS, NUM_BEFORE = 12, 6
FOUND = "found.json"
_DEADLINE_S = 120.0


def double(point: Mapping[str, float], seen: str) -> dict[str, float]:
    """Every measuring leaves a line; the first process comes to the middle and no further, so that it can be killed there."""
    with Path(seen).open("a", encoding="utf-8") as file:
        file.write(f"{point['x']!r}\n")
    if _num_lines(Path(seen)) == NUM_BEFORE:
        threading.Event().wait(_DEADLINE_S)
    return {"y": 2.0 * point["x"]}


def search_in(folder: Path) -> None:
    """What the killed process and its successor do; `found.json` then holds the trials."""
    search = PointSearch(
        measure=double,
        data=str(folder / "seen"),
        space={"x": tune.uniform(0.0, 1.0)},
        maximise="y",
        worst=0.0,
        first_points=[{"x": 0.25}],
        num_trials=NUM_TRIALS,
        num_at_once=1,
        seed=1,
    )
    done: list[int] = []
    with ray_session(SessionConfig(num_cpus=1, object_store_mb=128)):
        trials = run_search(
            search, folder=folder, on_trial=lambda number, total: done.append(number), identity="doubling"
        )
    write_json(folder / FOUND, {"trials": [[trial.point["x"], trial.figures] for trial in trials], "done": done})


def test_a_killed_search_goes_on_and_measures_what_was_noted_no_second_time(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    (tmp_path / ".tune" / "other search").mkdir(parents=True)
    first = _start(tmp_path)
    deadline_s = time.monotonic() + _DEADLINE_S
    while _num_noted(tmp_path) < NUM_BEFORE - 1:
        assert first.poll() is None and time.monotonic() < deadline_s, "the search ended, or never began"
        time.sleep(0.05)  # between two looks at its notes
    kill_session(first)
    assert _num_lines(seen) == NUM_BEFORE
    assert [path.name for path in (tmp_path / ".tune").iterdir()] == ["doubling"]

    second = _start(tmp_path)
    assert second.wait(timeout=_DEADLINE_S) == 0
    found = json.loads((tmp_path / FOUND).read_text(encoding="utf-8"))
    assert len(found["trials"]) == NUM_TRIALS
    assert all(figures == {"y": 2.0 * x} for x, figures in found["trials"])
    measured = [float(line) for line in seen.read_text(encoding="utf-8").splitlines()]
    assert sorted(measured) == sorted([x for x, _ in found["trials"]] + [measured[NUM_BEFORE - 1]]), "one twice"
    assert found["done"] == list(range(NUM_BEFORE, NUM_TRIALS + 1))
    assert not (tmp_path / ".tune").exists()


def _start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fault.test_search_resumes", str(folder)],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONPATH": "platform:."},
        start_new_session=True,
    )


def _num_noted(folder: Path) -> int:
    """Trials that the search's own notes say are done."""
    notes = sorted(folder.glob(".tune/doubling/search/experiment_state-*.json"))
    return notes[-1].read_text(encoding="utf-8").count(r"\"status\": \"TERMINATED\"") if notes else 0


def _num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


if __name__ == "__main__":
    search_in(Path(sys.argv[1]))
