"""The search over fine-tuning settings with Ray Tune: how a point is measured, and the table of the trials.

The search space is in `finetuning_space.py`.
"""

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
from intarsia.training.text_training_data import WATCHED_METRIC, TextTaskFactory
from tune_spaces.finetuning_space import FinetuningSpaceConfig, finetuning_space, fit_of_point, pairs_of_point, point_of


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuningSearchPlan:
    """Space and size of a search.

    Attributes:
        space: which settings are tried.
        num_trials: number of points in all; the first one is the task's own settings.
        num_at_once: number of concurrent trials.
        resources: of a trial, and the early stopping of trials; a trial reports once per epoch.
    """

    space: FinetuningSpaceConfig
    num_trials: int
    num_at_once: int
    resources: TrialsConfig


class _EpochEnded(Exception):
    """Interrupts a fit after an epoch, when its checkpoint is written."""


def search_finetuning(
    plan: FinetuningSearchPlan,
    task: TextTaskFactory,
    *,
    folder: Path,
    on_trial: Callable[[int, int], None],
    identity: str,
) -> list[Trial]:
    """Run the trials with Ray Tune and Optuna; they are returned in the order in which they were chosen.

    Args:
        plan: space and size of the search.
        task: the fit; its training data contains the judged validation queries that measure it.
        folder: where Ray Tune keeps its state while it runs.
        on_trial: called after every trial with the number of finished trials and the number of all.
        identity: digest of all that determines the result; an interrupted search continues under the same identity.

    Raises:
        ConfigError: every trial failed.
    """
    own = point_of(task.fit, task.pairs)
    points = PointSearch(
        measure=partial(measure_finetuning_point, device="cuda" if plan.resources.gpus_per_trial else "cpu"),
        data=task,
        space=finetuning_space(applicable_space(plan.space, task), own),
        maximise=WATCHED_METRIC,
        worst=0.0,
        first_points=[own],
        num_trials=plan.num_trials,
        num_at_once=plan.num_at_once,
        seed=task.fit.seed,
        trials=plan.resources,
    )
    return run_search(points, folder=folder, on_trial=on_trial, identity=identity)


def applicable_space(space: FinetuningSpaceConfig, task: TextTaskFactory) -> FinetuningSpaceConfig:
    """Restrict a space to the settings that the task allows: FGM perturbs word embeddings, which must be trainable."""
    return space if task.adapter.kind == "all" else replace(space, fgm_epsilons=(task.fit.fgm_epsilon,))


def measure_finetuning_point(point: Point, task: TextTaskFactory, *, device: str = "cpu") -> Iterator[Figures]:
    """Run one trial: fit in this process, and yield validation nDCG@10 after each epoch.

    The figure is that of the model that the fit would keep. After each epoch the fit stops and resumes from its
    checkpoint, so that a trial can be stopped there.
    """
    task_factory = task_of_point(point, task)
    training_task = task_factory()
    steps_per_epoch = BatchSchedule(
        num_examples=training_task.num_examples,
        epochs=task_factory.fit.epochs,
        batch_size=task_factory.fit.batch_size,
        accumulate=task_factory.fit.accumulate,
        seed=task_factory.fit.seed,
    ).steps_per_epoch
    fit = replace(task_factory.fit, checkpoint_every=steps_per_epoch, track="")
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        checkpoints = Path(folder)
        while True:
            try:
                result = fit_in_process(
                    training_task,
                    fit,
                    checkpoints=checkpoints,
                    on_step=_interrupt_every(steps_per_epoch),
                    device=device,
                )
            except _EpochEnded:
                yield _figures(fit_result(*read_checkpoint(checkpoints)), steps_per_epoch)
            else:
                yield _figures(result, steps_per_epoch)
                return


def task_of_point(point: Point, task: TextTaskFactory) -> TextTaskFactory:
    """Return the task with the settings of a point."""
    return replace(task, fit=fit_of_point(point, task.fit), pairs=pairs_of_point(point, task.pairs))


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the best trial that was not stopped early, else the best of all; the first one wins ties."""
    complete = [trial for trial in trials if trial.figures and not trial.stopped]
    return max(complete or [trial for trial in trials if trial.figures], key=_ndcg)


def trial_table(trials: Sequence[Trial]) -> list[str]:
    """Return the lines of a table of the trials, for a terminal; the best one is marked."""
    best = best_trial(trials)
    lines = [f"{'trial':<7}{WATCHED_METRIC:<9}{'epochs':<8}settings"]
    for trial in trials:
        settings = ", ".join(f"{name} {value:.3g}" for name, value in sorted(trial.point.items()))
        figures = (
            f"{_ndcg(trial):<9.4f}{trial.figures['epochs']:<8.0f}" if trial.figures else f"failed: {trial.error}; "
        )
        mark = " <- kept" if trial is best else " (stopped)" if trial.stopped else ""
        lines.append(f"{trial.number:<7}{figures}{settings}{mark}")
    return lines


def _interrupt_every(num_steps: int) -> OnStep:
    def interrupt(done: int, total: int, left_s: float) -> None:
        if left_s > 0 and done % num_steps == 0:
            raise _EpochEnded

    return interrupt


def _figures(result: FitResult, steps_per_epoch: int) -> Figures:
    return {WATCHED_METRIC: result.figures[WATCHED_METRIC], "epochs": result.num_steps / steps_per_epoch}


def _ndcg(trial: Trial) -> float:
    return trial.figures[WATCHED_METRIC] if trial.figures else 0.0
