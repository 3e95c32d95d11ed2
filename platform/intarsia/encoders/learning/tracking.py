"""Where a learning curve goes while it grows: TensorBoard always, MLflow or Weights & Biases when asked for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal, Protocol

from intarsia.encoders.learning.checkpoint import CurvePoint
from intarsia.errors import ConfigError

TrackerKind = Literal["", "mlflow", "wandb"]


class Tracker(Protocol):
    """Takes the points of one curve."""

    def write(self, point: CurvePoint) -> None:
        """Note one step."""
        ...

    def close(self) -> None:
        """No more points come."""
        ...


def open_tracker(logs: Path | None, kind: TrackerKind, *, first_step: int = 1) -> Tracker:
    """The trackers of one fit as one; none where `logs` is none.

    Args:
        logs: the folder for TensorBoard, and the place of the other kinds' local files.
        kind: another tracker beside TensorBoard; it reads its own settings (server, project, key) from the environment.
        first_step: points from here on replace what an interrupted fit wrote.

    Raises:
        ConfigError: the kind is not installed.
    """
    check_tracker(kind)
    if logs is None:
        return _Several([])
    trackers: list[Tracker] = [_TensorBoard(logs, first_step)]
    if kind == "mlflow":
        trackers.append(_MlFlow(logs))
    elif kind == "wandb":
        trackers.append(_WandB(logs))
    return _Several(trackers)


def check_tracker(kind: TrackerKind) -> None:
    """Refuse a tracker that this process cannot import.

    Raises:
        ConfigError: it is not installed.
    """
    if not kind:
        return
    try:
        importlib.import_module(kind)
    except ImportError as error:
        raise ConfigError(
            f"track is {kind}, which is not installed: pip install {kind}, or leave track empty"
        ) from error


def scalars(point: CurvePoint) -> dict[str, float]:
    """A point's numbers by the names trackers show."""
    return {
        "fit/loss": point.loss,
        "fit/learning_rate": point.learning_rate,
        **{f"measured/{name}": value for name, value in point.figures.items()},
    }


class _Several:
    def __init__(self, trackers: list[Tracker]) -> None:
        self._trackers = trackers

    def write(self, point: CurvePoint) -> None:
        for tracker in self._trackers:
            tracker.write(point)

    def close(self) -> None:
        for tracker in self._trackers:
            tracker.close()


class _TensorBoard:
    def __init__(self, logs: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and read by rank 0 alone

        self._writer: Any = SummaryWriter(str(logs), purge_step=first_step)

    def write(self, point: CurvePoint) -> None:
        for name, value in scalars(point).items():
            self._writer.add_scalar(name, value, point.step)

    def close(self) -> None:
        self._writer.close()


class _MlFlow:
    def __init__(self, logs: Path) -> None:
        self._mlflow: Any = importlib.import_module("mlflow")
        self._mlflow.start_run(run_name=logs.name)

    def write(self, point: CurvePoint) -> None:
        self._mlflow.log_metrics(scalars(point), step=point.step)

    def close(self) -> None:
        self._mlflow.end_run()


class _WandB:
    def __init__(self, logs: Path) -> None:
        self._run: Any = importlib.import_module("wandb").init(dir=str(logs), name=logs.name)

    def write(self, point: CurvePoint) -> None:
        self._run.log(scalars(point), step=point.step)

    def close(self) -> None:
        self._run.finish()
