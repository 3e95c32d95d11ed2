"""A killed search continues when it is started again with the same identity."""

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
RESULT = "result.json"
_DEADLINE_S = 120.0


def double(point: Mapping[str, float], seen: str) -> dict[str, float]:
    """Writes a line per call; the sixth call of the first process waits, so that it can be killed there."""
    with Path(seen).open("a", encoding="utf-8") as file:
        file.write(f"{point['x']!r}\n")
    if _num_lines(Path(seen)) == NUM_BEFORE:
        threading.Event().wait(_DEADLINE_S)
    return {"y": 2.0 * point["x"]}


def search_in(folder: Path) -> None:
    """Runs in the killed process and in its successor; writes the trials into `result.json`."""
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
    write_json(folder / RESULT, {"trials": [[trial.point["x"], trial.figures] for trial in trials], "done": done})


def test_a_killed_search_continues_without_repeating_finished_trials(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    (tmp_path / ".tune" / "other search").mkdir(parents=True)
    first = _start(tmp_path)
    deadline_s = time.monotonic() + _DEADLINE_S
    while _num_saved(tmp_path) < NUM_BEFORE - 1:
        assert first.poll() is None and time.monotonic() < deadline_s, "the search ended, or did not start"
        time.sleep(0.05)
    kill_session(first)
    assert _num_lines(seen) == NUM_BEFORE
    assert [path.name for path in (tmp_path / ".tune").iterdir()] == ["doubling"]

    second = _start(tmp_path)
    assert second.wait(timeout=_DEADLINE_S) == 0
    result = json.loads((tmp_path / RESULT).read_text(encoding="utf-8"))
    assert len(result["trials"]) == NUM_TRIALS
    assert all(figures == {"y": 2.0 * x} for x, figures in result["trials"])
    measured = [float(line) for line in seen.read_text(encoding="utf-8").splitlines()]
    assert sorted(measured) == sorted([x for x, _ in result["trials"]] + [measured[NUM_BEFORE - 1]]), "one twice"
    assert result["done"] == list(range(NUM_BEFORE, NUM_TRIALS + 1))
    assert not (tmp_path / ".tune").exists()


def _start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fault.test_search_resumes", str(folder)],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONPATH": "platform:."},
        start_new_session=True,
    )


def _num_saved(folder: Path) -> int:
    """Finished trials in the saved state of the search."""
    states = sorted(folder.glob(".tune/doubling/search/experiment_state-*.json"))
    return states[-1].read_text(encoding="utf-8").count(r"\"status\": \"TERMINATED\"") if states else 0


def _num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


if __name__ == "__main__":
    search_in(Path(sys.argv[1]))
