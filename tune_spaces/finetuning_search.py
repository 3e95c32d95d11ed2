"""The search over fine-tuning fits by Ray Tune: how a point is measured, and what came of each. The space is `finetuning.py`'s matter."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from intarsia.onray.tuning import Figures, Point, PointSearch, Trial, TrialsConfig, run_search
from intarsia.training.checkpoint import read_checkpoint
from intarsia.training.loop import FitResult, OnStep, fit_in_process, fit_result
from intarsia.training.schedule import BatchSchedule
from intarsia.training.text_training_data import WATCHED, TextTaskFactory
from tune_spaces.finetuning_space import FinetuningSpaceConfig, finetuning_space, fit_of_point, pairs_of_point, point_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuningTuning:
    """What is tried, and how often.

    Attributes:
        space: which settings.
        num_trials: points in all; the task's own settings are the first.
        num_at_once: trials beside each other.
        resources: of a trial, and when hopeless ones are stopped; a report is an epoch.
    """

    space: FinetuningSpaceConfig
    num_trials: int
    num_at_once: int
    resources: TrialsConfig


class _EpochEnded(Exception):
    """Leaves a fit whose checkpoint was just written."""


def tune_finetuning(
    tuning: FinetuningTuning,
    task: TextTaskFactory,
    *,
    folder: Path,
    on_trial: Callable[[int, int], None],
    identity: str,
) -> list[Trial]:
    """The trials of Ray Tune and Optuna, in the order they were chosen.

    Args:
        tuning: what is tried.
        task: the fit; its lessons hold the judged validation queries that measure it.
        folder: where Tune keeps its notes while it runs.
        on_trial: told of every trial.
        identity: names all that decides the result; a search that was stopped goes on under it.

    Raises:
        ConfigError: every trial failed.
    """
    own = point_of(task.fit, task.pairs)
    search = PointSearch(
        measure=partial(measure_point, device="cuda" if tuning.resources.gpus_per_trial else "cpu"),
        data=task,
        space=finetuning_space(space_of(tuning.space, task), own),
        maximise=WATCHED,
        worst=0.0,
        first_points=[own],
        num_trials=tuning.num_trials,
        num_at_once=tuning.num_at_once,
        seed=task.fit.seed,
        trials=tuning.resources,
    )
    return run_search(search, folder=folder, on_trial=on_trial, identity=identity)


def space_of(space: FinetuningSpaceConfig, task: TextTaskFactory) -> FinetuningSpaceConfig:
    """What of a space the task can be fitted with: FGM pushes word embeddings, so it needs a tower that is trained whole."""
    return space if task.adapter.kind == "all" else replace(space, fgm_epsilons=(task.fit.fgm_epsilon,))


def measure_point(point: Point, task: TextTaskFactory, *, device: str = "cpu") -> Iterator[Figures]:
    """What one trial does: a fit in this process, and after each epoch nDCG@10 of the validation queries by the tower it would keep.

    Between two epochs the fit rests in its checkpoint, so that a trial can be given up there.
    """
    task = task_of_point(point, task)
    learner = task()
    per_epoch = BatchSchedule(
        num_examples=learner.num_examples,
        epochs=task.fit.epochs,
        batch_size=task.fit.batch_size,
        accumulate=task.fit.accumulate,
        seed=task.fit.seed,
    ).steps_per_epoch
    fit = replace(task.fit, checkpoint_every=per_epoch, track="")
    with tempfile.TemporaryDirectory(prefix="trial-") as place:
        while True:
            try:
                found = fit_in_process(
                    learner, fit, checkpoints=Path(place), on_step=_leave_after(per_epoch), device=device
                )
            except _EpochEnded:
                yield _figures(fit_result(*read_checkpoint(Path(place))), per_epoch)
            else:
                yield _figures(found, per_epoch)
                return


def task_of_point(point: Point, task: TextTaskFactory) -> TextTaskFactory:
    """The task with the settings of a point."""
    return replace(task, fit=fit_of_point(point, task.fit), pairs=pairs_of_point(point, task.pairs))


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The best of those that were measured to their end, of equals the first."""
    ended = [one for one in trials if one.figures and not one.stopped]
    return max(ended or [one for one in trials if one.figures], key=_worth)


def table(trials: Sequence[Trial]) -> list[str]:
    """What each trial came to, in lines for a terminal; the best is marked."""
    best = best_trial(trials)
    lines = [f"{'trial':<7}{WATCHED:<9}{'epochs':<8}settings"]
    for one in trials:
        settings = ", ".join(f"{name} {value:.3g}" for name, value in sorted(one.point.items()))
        measured = f"{_worth(one):<9.4f}{one.figures['epochs']:<8.0f}" if one.figures else f"failed: {one.error}; "
        end = " <- kept" if one is best else " (stopped)" if one.stopped else ""
        lines.append(f"{one.number:<7}{measured}{settings}{end}")
    return lines


def _leave_after(steps: int) -> OnStep:
    def leave(done: int, total: int, left_s: float) -> None:
        if left_s > 0 and done % steps == 0:
            raise _EpochEnded

    return leave


def _figures(found: FitResult, steps_per_epoch: int) -> Figures:
    return {WATCHED: found.figures[WATCHED], "epochs": found.num_steps / steps_per_epoch}


def _worth(trial: Trial) -> float:
    return trial.figures[WATCHED] if trial.figures else 0.0
