"""A search by Ray Tune and Optuna over points of a space, each measured by a plain function; what points mean is their owner's matter."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import optuna
from ray import tune
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from intarsia.errors import ConfigError

DataT = TypeVar("DataT")
Point = Mapping[str, Any]
Figures = Mapping[str, float]
Measure = Callable[[Point, DataT], Figures]
"""(point, data) -> figures by name; may raise: then this point failed, and the search goes on."""

_WORTH = "worth"  # what Optuna is told about a trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One measured point; `error` says why there are no figures."""

    number: int
    point: Point
    figures: Figures | None
    error: str | None


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
            number of CPUs changes the result; another `num_at_once` does.
        seed: of the choices.
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


def run_search(
    search: PointSearch[DataT], *, folder: Path, on_trial: Callable[[int, int], None] = lambda done, total: None
) -> list[Trial]:
    """Measure the points of a search; equal searches give equal trials, in the same order.

    Args:
        search: what to do.
        folder: where Tune keeps its notes while it runs, on a cluster a folder that every node mounts; nothing stays there.
        on_trial: told how many trials of how many are done.

    Raises:
        ConfigError: every trial failed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=".tune-", ignore_cleanup_errors=True) as notes,
        contextlib.redirect_stdout(io.StringIO()),  # Tune greets there even when told to be silent
    ):
        results = _tuner(search, Path(notes).resolve(), on_trial).fit()
    trials = [_trial(number, result) for number, result in enumerate(results)]
    if not any(trial.figures is not None for trial in trials):
        raise ConfigError(f"all {len(trials)} trials of the search failed; the first: {trials[0].error}")
    return trials


class _MeasurePoint(tune.Trainable):  # type: ignore[misc]
    """One trial is one step; the actor then takes the next point."""

    def setup(self, config: dict[str, Any], search: PointSearch[Any] | None = None) -> None:
        assert search is not None
        self._point, self._search = config, search

    def step(self) -> dict[str, Any]:
        """The figures of the point, or why there are none: the actor lives on either way, as starting another takes seconds."""
        try:
            figures = {
                name: float(value) for name, value in self._search.measure(self._point, self._search.data).items()
            }
            return {_WORTH: figures[self._search.maximise], "figures": figures, "done": True}
        except Exception as error:
            return {_WORTH: self._search.worst, "failed": f"{type(error).__name__}: {error}", "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next point."""
        self._point = new_config
        return True


class _CountTrials(tune.Callback):  # type: ignore[misc]
    """Tells how many trials are done."""

    def __init__(self, on_trial: Callable[[int, int], None], total: int) -> None:
        self._on_trial, self._done, self._total = on_trial, 0, total

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """One more."""
        self._done += 1
        self._on_trial(self._done, self._total)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """One more, too."""
        self.on_trial_complete(iteration, trials, trial)


def _tuner(search: PointSearch[Any], notes: Path, on_trial: Callable[[int, int], None]) -> Any:
    sampler = OptunaSearch(
        metric=_WORTH,
        mode="max",
        seed=search.seed,
        points_to_evaluate=[dict(point) for point in search.first_points],
    )
    return tune.Tuner(
        tune.with_parameters(_MeasurePoint, search=search),
        param_space=dict(search.space),
        tune_config=tune.TuneConfig(
            num_samples=search.num_trials,
            search_alg=ConcurrencyLimiter(sampler, max_concurrent=search.num_at_once, batch=True),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(notes),
            verbose=0,
            callbacks=[_CountTrials(on_trial, search.num_trials)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a point has no state worth keeping
        ),
    )


def _trial(number: int, result: Any) -> Trial:
    metrics = result.metrics or {}
    failed = metrics.get("failed")
    if failed is None and result.error is not None:  # the actor itself was lost; the cause stands last in Ray's text
        failed = str(result.error).strip().splitlines()[-1]
    return Trial(
        number=number, point=dict(result.config or {}), figures=None if failed else metrics.get("figures"), error=failed
    )
