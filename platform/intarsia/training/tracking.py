"""Where a learning curve goes while it grows: TensorBoard always, MLflow or Weights & Biases when asked for."""

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
    """Takes the points of one curve."""

    def write(self, point: StepRecord) -> None:
        """Note one step."""
        ...

    def close(self, *, failed: bool) -> None:
        """No more points come: the fit is done, or failed."""
        ...


@contextmanager
def open_tracker(logs: Path | None, kind: TrackerKind, *, first_step: int = 1) -> Iterator[Tracker]:
    """The trackers of one fit as one, while it runs; none where `logs` is none. A fit that raises has failed in their eyes.

    Args:
        logs: the folder for TensorBoard. Its name is the other kinds' name of the run, whose id is noted there; Weights & Biases also keeps
            its local files there, MLflow where its own settings say.
        kind: another tracker beside TensorBoard; it reads its own settings (server, project, key) from the environment.
        first_step: above 1 the fit goes on, in the run whose id lies in `logs`. TensorBoard forgets what it had from this step on, MLflow
            has the repeated steps twice, Weights & Biases keeps what it had first; the repeated ones are equal.

    Raises:
        ConfigError: the kind is not installed.
    """
    check_tracker(kind)
    trackers: list[Tracker] = []
    if logs is not None:
        trackers.append(_TensorBoard(logs, first_step))
        if kind:
            trackers.append(_KINDS[kind](logs, _RunId(logs / f"{kind}_run.txt", goes_on=first_step > 1)))
    several = _Several(trackers)
    try:
        yield several
    except BaseException:
        several.close(failed=True)
        raise
    several.close(failed=False)


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


def scalars(point: StepRecord) -> dict[str, float]:
    """A point's numbers by the names trackers show."""
    return {
        "fit/loss": point.loss,
        "fit/learning_rate": point.learning_rate,
        **{f"measured/{name}": value for name, value in point.figures.items()},
    }


class _Several:
    def __init__(self, trackers: list[Tracker]) -> None:
        self._trackers = trackers

    def write(self, point: StepRecord) -> None:
        for tracker in self._trackers:
            tracker.write(point)

    def close(self, *, failed: bool) -> None:
        for tracker in self._trackers:
            tracker.close(failed=failed)


class _RunId:
    """What a tracker calls the run, noted beside the logs so that the fit can go on in it."""

    def __init__(self, path: Path, *, goes_on: bool) -> None:
        self._path = path
        self.known = path.read_text(encoding="utf-8") if goes_on and path.is_file() else None

    def note(self, run_id: str) -> None:
        self._path.write_text(run_id, encoding="utf-8")


class _TensorBoard:
    def __init__(self, logs: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and read by rank 0 alone

        self._writer: Any = SummaryWriter(str(logs), purge_step=first_step)

    def write(self, point: StepRecord) -> None:
        for name, value in scalars(point).items():
            self._writer.add_scalar(name, value, point.step)

    def close(self, *, failed: bool) -> None:
        self._writer.close()


class _MlFlow:
    def __init__(self, logs: Path, run: _RunId) -> None:
        self._mlflow: Any = importlib.import_module("mlflow")
        run.note(self._mlflow.start_run(run_id=run.known, run_name=logs.name).info.run_id)

    def write(self, point: StepRecord) -> None:
        named = {name.replace("@", "_at_"): value for name, value in scalars(point).items()}  # it refuses an @
        self._mlflow.log_metrics(named, step=point.step)

    def close(self, *, failed: bool) -> None:
        self._mlflow.end_run("FAILED" if failed else "FINISHED")


class _WandB:
    def __init__(self, logs: Path, run: _RunId) -> None:
        self._run: Any = importlib.import_module("wandb").init(
            dir=str(logs), name=logs.name, id=run.known, resume="allow"
        )
        run.note(self._run.id)

    def write(self, point: StepRecord) -> None:
        self._run.log(scalars(point), step=point.step)

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=1 if failed else 0)


_KINDS: Mapping[str, Callable[[Path, _RunId], Tracker]] = {"mlflow": _MlFlow, "wandb": _WandB}
