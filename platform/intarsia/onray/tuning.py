"""A search by Ray Tune and Optuna over points of a space, each measured by a plain function; what points mean is their owner's matter."""

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
"""(point, data) -> figures by name, or an iterator of them, better known each time, the last ones final: then hopeless points are stopped
early. May raise: then this point failed, and the search goes on.
"""

_WORTH, _FINAL = "worth", "final"  # what Optuna is told about a trial; whether its measure had nothing more to say
_END = {_FINAL: True, "done": True}
_NOTES = ".tune"
_NOTED_EVERY_S = "2"  # a search that is stopped loses this much

_on_trial: ContextVar[Callable[[int, int], None]] = ContextVar("_on_trial", default=lambda done, total: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialsConfig:
    """What trials may use, and when hopeless ones are stopped."""

    cpus_per_trial: float = setting("logical CPUs that a trial takes", 1.0)
    gpus_per_trial: float = setting("GPUs that a trial takes; a share is allowed", 0.0)
    first_stop: int = setting(
        "reports of a measure before a trial may be stopped; nothing for measures that report once", 1
    )
    keep_one_of: int = setting("of the trials that came so far, one of this many goes on; ASHA's reduction factor", 3)
    max_reports: int = setting("reports after which a trial is done", 100)

    def __post_init__(self) -> None:
        check_range(self, "cpus_per_trial", "gpus_per_trial", low=0.0)
        check_range(self, "first_stop", "max_reports", low=1)
        check_range(self, "keep_one_of", low=2)
        if self.first_stop > self.max_reports:
            raise ValueError(f"first_stop is {self.first_stop}; allowed: at most max_reports, {self.max_reports}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One measured point: its last figures, and `error` if there are none; `stopped` when it was not worth being measured to the end."""

    number: int
    point: Point
    figures: Figures | None
    error: str | None
    num_reports: int = 1
    stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSearch(Generic[DataT]):
    """What is searched, and how long.

    Attributes:
        measure: gives the figures of a point.
        data: put once into the object store and read there by every trial.
        space: Ray Tune domains by name.
        maximise: the figure that is to be large.
        worst: what a failed point is worth to the search.
        first_points: measured first, in this order; they count among `num_trials`.
        num_trials: points in all.
        num_at_once: trials that run beside each other. The next ones are chosen when all of them are done, so neither timing nor the
            number of CPUs changes the result, where each reports once; another `num_at_once` does. Which trials are stopped early depends
            on who reported first, so there only a search of one at a time is the same again.
        seed: of the choices.
        trials: resources, and early stopping.
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
        search: what to do.
        folder: where Tune keeps its notes while it runs, on a cluster a folder that every node mounts; nothing stays there when it ends.
        on_trial: told how many trials of how many are done.
        identity: names all that decides the result. With it, a search that was stopped goes on where it stood when it is asked for again
            under the same name; notes of other names of the same job are thrown away. Without it, it starts anew.
        job: whose search it is: stopped searches of other jobs in the same folder keep their notes.

    Raises:
        ConfigError: every trial failed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    token = _on_trial.set(on_trial)
    try:
        with (
            _notes(folder, identity, job) as notes,
            _noted_often(),
            contextlib.redirect_stdout(io.StringIO()),  # Tune greets there even when told to be silent
        ):
            results = _tuner(search, notes).fit()
    finally:
        _on_trial.reset(token)
    trials = [_trial(number, result) for number, result in enumerate(results)]
    if not any(trial.figures is not None for trial in trials):
        raise ConfigError(f"all {len(trials)} trials of the search failed; the first: {trials[0].error}")
    return trials


class _MeasurePoint(tune.Trainable):  # type: ignore[misc]
    """A step is one report of the measure; when it has no more, the actor takes the next point."""

    def setup(self, config: dict[str, Any], search: PointSearch[Any] | None = None) -> None:
        assert search is not None
        self._search = search
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next point."""
        self._point, self._num_reports = new_config, 0
        self._reports: Iterator[Figures] | None = None
        self._last: dict[str, Any] = {_WORTH: self._search.worst, "failed": "the measure reported nothing"}
        return True

    def step(self) -> dict[str, Any]:
        """The figures of the point, or why there are none: the actor lives on either way, as starting another takes seconds."""
        try:
            if self._reports is None:
                measured = self._search.measure(self._point, self._search.data)
                if isinstance(measured, Mapping):
                    return self._said(measured) | _END
                self._reports = measured
            found = next(self._reports, None)
            if found is None:
                return self._last | _END
            self._last = self._said(found)
            return self._last | (_END if self._num_reports == self._search.trials.max_reports else {})
        except Exception as error:
            return {_WORTH: self._search.worst, "failed": f"{type(error).__name__}: {error}"} | _END

    def _said(self, found: Figures) -> dict[str, Any]:
        figures = {name: float(value) for name, value in found.items()}
        self._num_reports += 1
        return {_WORTH: figures[self._search.maximise], "figures": figures, "num_reports": self._num_reports}


class _CountTrials(tune.Callback):  # type: ignore[misc]
    """Tells how many trials are done. It has no state: a search that goes on again finds its new listener."""

    def __init__(self, total: int) -> None:
        self._total = total

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """One more."""
        done = {one.trial_id for one in trials if one.is_finished()} | {trial.trial_id}
        _on_trial.get()(len(done), self._total)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """One more, too."""
        self.on_trial_complete(iteration, trials, trial)


@contextlib.contextmanager
def _notes(folder: Path, identity: str, job: str) -> Iterator[Path]:
    """Where Tune writes: a folder that is gone at the end, or, with an identity, one that stays until the search has ended well."""
    if not identity:
        with tempfile.TemporaryDirectory(dir=folder, prefix=f"{_NOTES}-", ignore_cleanup_errors=True) as notes:
            yield Path(notes).resolve()
        return
    home = folder / _NOTES
    of_job = f"{job}." if job else ""
    mine = home / f"{of_job}{identity}"
    run = mine.name.partition("-")[0]  # searches of one run of a job share the part before the hyphen
    for other in home.glob("*"):
        if other.name.rpartition(".")[0] == job and not other.name.startswith(run):
            shutil.rmtree(other, ignore_errors=True)
    mine.mkdir(parents=True, exist_ok=True)
    yield mine.resolve()
    shutil.rmtree(mine, ignore_errors=True)
    with contextlib.suppress(OSError):  # another search has its notes here
        home.rmdir()


@contextlib.contextmanager
def _noted_often() -> Iterator[None]:
    """Tune writes down how far it is every few seconds; by itself it does so every ten, and it takes the number from here only."""
    name = "TUNE_GLOBAL_CHECKPOINT_S"
    before = os.environ.get(name)
    os.environ[name] = before or _NOTED_EVERY_S
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


def _tuner(search: PointSearch[Any], notes: Path) -> Any:
    trainable = tune.with_resources(
        tune.with_parameters(_MeasurePoint, search=search),
        {"cpu": search.trials.cpus_per_trial, "gpu": search.trials.gpus_per_trial},
    )
    begun = str(notes / "search")
    if tune.Tuner.can_restore(begun):
        return tune.Tuner.restore(begun, trainable, resume_unfinished=True, restart_errored=True)
    sampler = OptunaSearch(
        metric=_WORTH,
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
                metric=_WORTH,
                mode="max",
                max_t=search.trials.max_reports + 1,  # the last report is said twice, as the end is only then known
                grace_period=search.trials.first_stop,
                reduction_factor=search.trials.keep_one_of,
            ),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(notes),
            verbose=0,
            callbacks=[_CountTrials(search.num_trials)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a point has no state worth keeping
        ),
    )


def _trial(number: int, result: Any) -> Trial:
    metrics = result.metrics or {}
    failed = metrics.get("failed")
    if failed is None and result.error is not None:  # the actor itself was lost; the cause stands last in Ray's text
        failed = str(result.error).strip().splitlines()[-1]
    return Trial(
        number=number,
        point=dict(result.config or {}),
        figures=None if failed else metrics.get("figures"),
        error=failed,
        num_reports=int(metrics.get("num_reports", 0)),
        stopped=not failed and not metrics.get(_FINAL, False),
    )
