"""Searches points of a space with Ray Tune and Optuna. A plain function measures each point."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from intarsia.config import check_range, setting
from intarsia.errors import ConfigError

DataT = TypeVar("DataT")
Point = Mapping[str, Any]
Figures = Mapping[str, float]
Measure = Callable[[Point, DataT], Figures | Iterator[Figures]]
"""(point, data) -> figures by name, or an iterator of figures, for example one per epoch, of which the last are final.
Points with poor figures are then stopped early. May raise an error: the point counts as failed and the search
continues.
"""

_SCORE, _FINAL = "score", "final"  # in a trial's result: what Optuna maximises; whether the measure has ended
_END = {_FINAL: True, "done": True}
_FOLDER = ".tune"
_SNAPSHOT_INTERVAL_S = "2"  # an interrupted search loses up to this much

_on_trial: ContextVar[Callable[[int, int], None]] = ContextVar("_on_trial", default=lambda done, total: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialsConfig:
    """Resources of a trial, and early stopping (ASHA)."""

    cpus_per_trial: float = setting("logical CPUs of a trial", 1.0, advanced=True)
    gpus_per_trial: float = setting("GPUs of a trial; may be a fraction", 0.0, advanced=True)
    first_stop: int = setting(
        "number of reports before a trial may be stopped; no effect on trials that report once", 1, advanced=True
    )
    keep_one_of: int = setting(
        "at each stop, one of this many trials continues (ASHA's reduction factor)", 3, advanced=True
    )
    max_reports: int = setting("number of reports after which a trial ends", 100, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "cpus_per_trial", "gpus_per_trial", low=0.0)
        check_range(self, "first_stop", "max_reports", low=1)
        check_range(self, "keep_one_of", low=2)
        if self.first_stop > self.max_reports:
            raise ValueError(f"first_stop is {self.first_stop}; allowed: at most max_reports, {self.max_reports}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A measured point: its last figures, or None and an `error`; `stopped` if it was stopped early."""

    number: int
    point: Point
    figures: Figures | None
    error: str | None
    num_reports: int = 1
    stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSearch(Generic[DataT]):
    """A search.

    Attributes:
        measure: computes the figures of a point.
        data: passed to `measure`; put once into the object store, which every trial reads.
        space: Ray Tune domains by name.
        maximise: name of the figure to maximise.
        worst: score of a failed point.
        first_points: measured first, in this order; they count among `num_trials`.
        num_trials: number of points in all.
        num_at_once: number of concurrent trials. The next ones are chosen when all of them have ended. If each trial
            reports once, the result depends on this number, but neither on timing nor on the number of CPUs. Early
            stopping depends on which trial reports first, so then only a search with 1 is reproducible.
        seed: of the choice of points.
        trials: resources and early stopping.
    """

    measure: Measure[DataT]
    data: DataT
    space: Mapping[str, Any]
    maximise: str
    worst: float
    first_points: Sequence[Point]
    num_trials: int
    num_at_once: int
    seed: int
    trials: TrialsConfig = field(default_factory=TrialsConfig)


def run_search(
    search: PointSearch[DataT],
    *,
    folder: Path,
    on_trial: Callable[[int, int], None] = lambda done, total: None,
    identity: str = "",
    job: str = "",
) -> list[Trial]:
    """Measure the points of a search; equal searches give equal trials, in the same order.

    Args:
        search: what to search.
        folder: where Tune keeps its state while it runs; on a cluster a folder that every node mounts. Removed at the
            end.
        on_trial: called with the number of finished trials and the number of all.
        identity: digest of all that determines the result. With it, an interrupted search continues when it is started
            again with the same identity; state of other identities of the same job is removed. Without it, every
            search starts anew.
        job: name of the job; the state of other jobs' interrupted searches in `folder` is kept.

    Raises:
        ConfigError: every trial failed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    token = _on_trial.set(on_trial)
    try:
        with (
            _state_dir(folder, identity, job) as state,
            _frequent_snapshots(),
            contextlib.redirect_stdout(io.StringIO()),  # Tune prints a banner even with verbose=0
        ):
            results = _tuner(search, state).fit()
    finally:
        _on_trial.reset(token)
    trials = [_trial(number, result) for number, result in enumerate(results)]
    if not any(trial.figures is not None for trial in trials):
        raise ConfigError(f"all {len(trials)} trials of the search failed; the first: {trials[0].error}")
    return trials


class _MeasurePoint(tune.Trainable):  # type: ignore[misc]
    """One step is one report of the measure; after the last one the actor is reset to the next point."""

    def setup(self, config: dict[str, Any], search: PointSearch[Any] | None = None) -> None:
        assert search is not None
        self._search = search
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._point, self._num_reports = new_config, 0
        self._reports: Iterator[Figures] | None = None
        self._last: dict[str, Any] = {_SCORE: self._search.worst, "failed": "the measure reported nothing"}
        return True

    def step(self) -> dict[str, Any]:
        """Return the figures, or the error. An error is not raised, because starting another actor takes seconds."""
        try:
            if self._reports is None:
                measured = self._search.measure(self._point, self._search.data)
                if isinstance(measured, Mapping):
                    return self._result(measured) | _END
                self._reports = measured
            figures = next(self._reports, None)
            if figures is None:
                return self._last | _END
            self._last = self._result(figures)
            return self._last | (_END if self._num_reports == self._search.trials.max_reports else {})
        except Exception as error:
            return {_SCORE: self._search.worst, "failed": f"{type(error).__name__}: {error}"} | _END

    def _result(self, figures: Figures) -> dict[str, Any]:
        values = {name: float(value) for name, value in figures.items()}
        self._num_reports += 1
        return {_SCORE: values[self._search.maximise], "figures": values, "num_reports": self._num_reports}


class _CountTrials(tune.Callback):  # type: ignore[misc]
    """Calls `on_trial`. It is read from a context variable, because Tune restores this object from its state."""

    def __init__(self, total: int) -> None:
        self._total = total

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        finished_ids = {other.trial_id for other in trials if other.is_finished()} | {trial.trial_id}
        _on_trial.get()(len(finished_ids), self._total)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.on_trial_complete(iteration, trials, trial)


@contextlib.contextmanager
def _state_dir(folder: Path, identity: str, job: str) -> Iterator[Path]:
    """Yield the folder for Tune's state; with an identity it is kept until the search has succeeded."""
    if not identity:
        with tempfile.TemporaryDirectory(dir=folder, prefix=f"{_FOLDER}-", ignore_cleanup_errors=True) as state:
            yield Path(state).resolve()
        return
    home = folder / _FOLDER
    prefix = f"{job}." if job else ""
    state_dir = home / f"{prefix}{identity}"
    run = state_dir.name.partition("-")[0]  # searches of one run of a job have the part before the hyphen in common
    for other in home.glob("*"):
        if other.name.rpartition(".")[0] == job and not other.name.startswith(run):
            shutil.rmtree(other, ignore_errors=True)
    state_dir.mkdir(parents=True, exist_ok=True)
    yield state_dir.resolve()
    shutil.rmtree(state_dir, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty: another search keeps its state here
        home.rmdir()


@contextlib.contextmanager
def _frequent_snapshots() -> Iterator[None]:
    """Make Tune save its state every 2 s instead of every 10 s; it reads the interval from the environment only."""
    name = "TUNE_GLOBAL_CHECKPOINT_S"
    before = os.environ.get(name)
    os.environ[name] = before or _SNAPSHOT_INTERVAL_S
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


def _tuner(search: PointSearch[Any], state: Path) -> Any:
    trainable = tune.with_resources(
        tune.with_parameters(_MeasurePoint, search=search),
        {"cpu": search.trials.cpus_per_trial, "gpu": search.trials.gpus_per_trial},
    )
    saved = str(state / "search")
    if tune.Tuner.can_restore(saved):
        return tune.Tuner.restore(saved, trainable, resume_unfinished=True, restart_errored=True)
    sampler = OptunaSearch(
        metric=_SCORE,
        mode="max",
        seed=search.seed,
        points_to_evaluate=[dict(point) for point in search.first_points],
    )
    return tune.Tuner(
        trainable,
        param_space=dict(search.space),
        tune_config=tune.TuneConfig(
            num_samples=search.num_trials,
            search_alg=ConcurrencyLimiter(sampler, max_concurrent=search.num_at_once, batch=True),
            scheduler=ASHAScheduler(
                metric=_SCORE,
                mode="max",
                # one more: the last report is sent twice, because the end is only known after it
                max_t=search.trials.max_reports + 1,
                grace_period=search.trials.first_stop,
                reduction_factor=search.trials.keep_one_of,
            ),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(state),
            verbose=0,
            callbacks=[_CountTrials(search.num_trials)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a point has no state
        ),
    )


def _trial(number: int, result: Any) -> Trial:
    metrics = result.metrics or {}
    failed = metrics.get("failed")
    if failed is None and result.error is not None:  # the actor died; the cause is the last line of Ray's message
        failed = str(result.error).strip().splitlines()[-1]
    return Trial(
        number=number,
        point=dict(result.config or {}),
        figures=None if failed else metrics.get("figures"),
        error=failed,
        num_reports=int(metrics.get("num_reports", 0)),
        stopped=not failed and not metrics.get(_FINAL, False),
    )
