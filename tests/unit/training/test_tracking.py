"""Trackers of the learning curve. Small modules replace MLflow and Weights & Biases, which are not installed."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from intarsia.errors import ConfigError
from intarsia.training.checkpoint import StepRecord
from intarsia.training.loop import FitConfig, fit_in_process
from intarsia.training.tracking import TrackerKind, check_tracker
from tests.mean_of_line import MeanOfLine

KINDS: tuple[TrackerKind, ...] = ("mlflow", "wandb")


@dataclass
class FakeTracker:
    """Runs of a fake tracker by id: name, how each part ended, and the points of each part."""

    names: dict[str, str] = field(default_factory=dict)
    ends: list[tuple[str, object]] = field(default_factory=list)
    points: list[tuple[str, int, dict[str, float]]] = field(default_factory=list)
    active: str = ""

    def start(self, run_id: str | None, name: str) -> str:
        assert not self.active, "a run is open already"
        assert run_id is None or run_id in self.names, "no such run"
        self.active = run_id or f"run{len(self.names)}"
        self.names.setdefault(self.active, name)
        return self.active

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.points.append((self.active, step, dict(values)))

    def end(self, how: object) -> None:
        self.ends.append((self.active, how))
        self.active = ""


def stand_in(kind: TrackerKind, noted: FakeTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions of the real module that are used, with its argument rules."""
    module = ModuleType(kind)

    def start_run(run_id: str | None = None, *, run_name: str | None = None) -> object:
        return SimpleNamespace(info=SimpleNamespace(run_id=noted.start(run_id, str(run_name))))

    def log_metrics(metrics: Mapping[str, float], step: int | None = None) -> None:
        assert all(re.fullmatch(r"[/\w.\- ]*", name) for name in metrics), "MLflow takes no other signs"
        noted.log(metrics, int(step or 0))

    def init(*, dir: str, name: str, id: str | None, resume: str) -> object:
        assert Path(dir).is_dir() and resume == "allow"
        run_id = noted.start(id, name)
        return SimpleNamespace(id=run_id, log=noted.log, finish=lambda exit_code: noted.end(exit_code))

    if kind == "mlflow":
        vars(module).update(start_run=start_run, log_metrics=log_metrics, end_run=noted.end)
    else:
        vars(module).update(init=init)
    monkeypatch.setitem(sys.modules, kind, module)


def shown(kind: TrackerKind, point: StepRecord) -> dict[str, float]:
    metrics = {"fit/loss": point.loss, "fit/learning_rate": point.learning_rate}
    name = "measured/found_at_10" if kind == "mlflow" else "measured/found@10"
    return metrics | {name: point.figures["found@10"]} if point.figures else metrics


class Measured(MeanOfLine):
    def measure(self) -> Mapping[str, float]:
        return {"found@10": 0.5}


@pytest.fixture
def noted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FakeTracker:
    metrics = FakeTracker()
    stand_in(request.node.callspec.params["kind"], metrics, monkeypatch)
    return metrics


def test_the_curve_goes_to_tensorboard(tmp_path: Path) -> None:
    fitted = fit_in_process(MeanOfLine(figures=(0.5,)), FitConfig(epochs=1, batch_size=2), logs=tmp_path)
    written = EventAccumulator(str(tmp_path)).Reload()
    assert [event.value for event in written.Scalars("fit/loss")] == pytest.approx([p.loss for p in fitted.curve])
    assert [(event.step, event.value) for event in written.Scalars("measured/figure")] == [(2, 0.5)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_tracker_gets_every_point_in_one_run_that_is_finished(
    kind: TrackerKind, noted: FakeTracker, tmp_path: Path
) -> None:
    fitted = fit_in_process(Measured(), FitConfig(epochs=2, batch_size=2, track=kind), logs=tmp_path / "tower")
    assert noted.names == {"run0": "tower"}
    assert noted.points == [("run0", point.step, shown(kind, point)) for point in fitted.curve]
    assert noted.ends == [("run0", {"mlflow": "FINISHED", "wandb": 0}[kind])]


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_fit_is_resumed_in_the_same_run(kind: TrackerKind, noted: FakeTracker, tmp_path: Path) -> None:
    config = FitConfig(epochs=4, batch_size=2, checkpoint_every=3, track=kind)
    logs, checkpoints = tmp_path / "tower", tmp_path / "kept"

    def stop_at_5(done: int, total: int, left_s: float) -> None:
        if done == 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit_in_process(MeanOfLine(), config, logs=logs, checkpoints=checkpoints, on_step=stop_at_5)
    failed, finished = {"mlflow": ("FAILED", "FINISHED"), "wandb": (1, 0)}[kind]
    assert noted.ends == [("run0", failed)]
    fitted = fit_in_process(MeanOfLine(), config, logs=logs, checkpoints=checkpoints)
    assert fitted.num_resumed == 1
    assert noted.ends == [("run0", failed), ("run0", finished)]
    assert [(run, step) for run, step, _ in noted.points] == [("run0", n) for n in (1, 2, 3, 4, 5, 4, 5, 6, 7, 8)]
    assert noted.points[3:5] == noted.points[5:7]  # the repeated steps are equal
    fit_in_process(MeanOfLine(), config, logs=logs)  # from its beginning: another run
    assert noted.ends[2:] == [("run1", finished)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_tracker_that_is_not_installed_is_refused_by_name(kind: TrackerKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, kind, None)  # what an import finds where it is not installed
    with pytest.raises(ConfigError, match=f"track is {kind}, which is not installed: pip install {kind}"):
        check_tracker(kind)
