"""Where the learning curve is logged during a fit: TensorBoard always; MLflow or Weights & Biases on request."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from intarsia.errors import ConfigError
from intarsia.training.checkpoint import StepRecord

TrackerKind = Literal["", "mlflow", "wandb"]


class Tracker(Protocol):
    """Receives the records of one curve."""

    def write(self, point: StepRecord) -> None:
        """Log one step."""
        ...

    def close(self, *, failed: bool) -> None:
        """End the run, as finished or failed."""
        ...


@contextmanager
def open_tracker(logs: Path | None, kind: TrackerKind, *, first_step: int = 1) -> Iterator[Tracker]:
    """Context with the trackers of one fit as one tracker. If the fit raises, the run is marked as failed.

    Args:
        logs: folder for TensorBoard; None: no tracker at all. Its name is the run name for the other trackers, and the
            run id is stored in it. Weights & Biases keeps its local files there too; MLflow uses its own settings.
        kind: a tracker besides TensorBoard; it reads its own settings (server, project, key) from the environment.
        first_step: above 1 the fit is resumed, in the run whose id is in `logs`. TensorBoard deletes what it has from
            this step on, MLflow has the repeated steps twice, Weights & Biases keeps the first ones; the repeated ones
            are equal.

    Raises:
        ConfigError: the tracker is not installed.
    """
    check_tracker(kind)
    trackers: list[Tracker] = []
    if logs is not None:
        trackers.append(_TensorBoard(logs, first_step))
        if kind:
            trackers.append(_TRACKER_TYPES[kind](logs, _RunId(logs / f"{kind}_run.txt", is_resumed=first_step > 1)))
    tracker = _Trackers(trackers)
    try:
        yield tracker
    except BaseException:
        tracker.close(failed=True)
        raise
    tracker.close(failed=False)


def check_tracker(kind: TrackerKind) -> None:
    """Check that a tracker can be imported.

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


def scalars(point: StepRecord) -> dict[str, float]:
    """The numbers of a step by their names in trackers."""
    return {
        "fit/loss": point.loss,
        "fit/learning_rate": point.learning_rate,
        **{f"measured/{name}": value for name, value in point.figures.items()},
    }


class _Trackers:
    def __init__(self, trackers: list[Tracker]) -> None:
        self._trackers = trackers

    def write(self, point: StepRecord) -> None:
        for tracker in self._trackers:
            tracker.write(point)

    def close(self, *, failed: bool) -> None:
        for tracker in self._trackers:
            tracker.close(failed=failed)


class _RunId:
    """The id of a run in a tracker, stored in the log folder so that the fit can be resumed in the same run."""

    def __init__(self, path: Path, *, is_resumed: bool) -> None:
        self._path = path
        self.known = path.read_text(encoding="utf-8") if is_resumed and path.is_file() else None

    def store(self, run_id: str) -> None:
        self._path.write_text(run_id, encoding="utf-8")


class _TensorBoard:
    def __init__(self, logs: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import; only rank 0 needs it

        self._writer: Any = SummaryWriter(str(logs), purge_step=first_step)

    def write(self, point: StepRecord) -> None:
        for name, value in scalars(point).items():
            self._writer.add_scalar(name, value, point.step)

    def close(self, *, failed: bool) -> None:
        self._writer.close()


class _MlFlow:
    def __init__(self, logs: Path, run: _RunId) -> None:
        self._mlflow: Any = importlib.import_module("mlflow")
        run.store(self._mlflow.start_run(run_id=run.known, run_name=logs.name).info.run_id)

    def write(self, point: StepRecord) -> None:
        # MLflow does not allow @ in names
        metrics = {name.replace("@", "_at_"): value for name, value in scalars(point).items()}
        self._mlflow.log_metrics(metrics, step=point.step)

    def close(self, *, failed: bool) -> None:
        self._mlflow.end_run("FAILED" if failed else "FINISHED")


class _WandB:
    def __init__(self, logs: Path, run: _RunId) -> None:
        self._run: Any = importlib.import_module("wandb").init(
            dir=str(logs), name=logs.name, id=run.known, resume="allow"
        )
        run.store(self._run.id)

    def write(self, point: StepRecord) -> None:
        self._run.log(scalars(point), step=point.step)

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=1 if failed else 0)


_TRACKER_TYPES: Mapping[str, Callable[[Path, _RunId], Tracker]] = {"mlflow": _MlFlow, "wandb": _WandB}
