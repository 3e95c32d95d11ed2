"""The training loop: batches in, steps of AdamW, a learning curve out; the same loop in one process and in a crew of them.

What is learned is the `Learner`'s matter; who starts several processes is `onray/`'s. A step is a pure function of the config, its number,
the parameters, what a checkpoint keeps beside them (the optimiser's moments, AdaLoRA's ranks and what it knows of their worth) and, where
the module drops out, the number of workers. So a fit that goes on from a checkpoint with as many workers does what the uninterrupted one
would have done.

Letters: B examples of a global batch, b of them on one worker, W workers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from intarsia.config import fingerprint
from intarsia.errors import ArtifactError, ConfigError
from intarsia.logs import log_event
from intarsia.training.checkpoint import (
    CurvePoint,
    Progress,
    State,
    has_checkpoint,
    load_trained,
    read_checkpoint,
    trained_state,
    write_checkpoint,
)
from intarsia.training.fit_config import FitConfig
from intarsia.training.process_group import ProcessGroup, SingleProcess
from intarsia.training.schedule import BatchSchedule
from intarsia.training.step import Stepper
from intarsia.training.task import TrainingTask
from intarsia.training.tracking import open_tracker

__all__ = ["FitConfig", "FitResult", "OnStep", "fit_here", "fitted", "run_fit"]

OnStep = Callable[[int, int, float], None]
"""Told after each step: steps done, steps in all, seconds still to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """What a fit gives.

    Attributes:
        state: the trained parameters and the buffers by the module's own names, on the CPU; `load_trained` puts them into a module.
        curve: one point per step; those that end an epoch hold the learner's figures.
        num_steps: steps done.
        kept_step: the step after which `state` was taken: the last, or the best of the watched figure.
        num_resumed: how often the fit went on from a checkpoint.
    """

    state: State
    curve: tuple[CurvePoint, ...]
    num_steps: int
    kept_step: int
    num_resumed: int

    @property
    def figures(self) -> Mapping[str, float]:
        """The learner's figures at the kept step; empty when it measures nothing."""
        return self.curve[self.kept_step - 1].figures


def fit_here(
    learner: TrainingTask,
    config: FitConfig,
    *,
    logs: Path | None = None,
    checkpoints: Path | None = None,
    on_step: OnStep | None = None,
    device: str = "cpu",
) -> FitResult:
    """Fit in this process; the learner's module holds the kept parameters afterwards.

    Args:
        learner: the task; its module is trained in place.
        config: how.
        logs: a folder for TensorBoard; nothing is written without one.
        checkpoints: a folder; a checkpoint that lies there is gone on from. Nothing is written without one.
        on_step: told of each step.
        device: where torch computes.

    Raises:
        ConfigError: the config does not fit the learner, or the loss was not finite.
        ArtifactError: the checkpoint is torn, or of another fit.
    """
    progress = Progress()
    if checkpoints is not None and has_checkpoint(checkpoints):
        state, progress = read_checkpoint(checkpoints)
        load_trained(learner.module, state)
        progress.num_resumed += 1

    def keep(progress: Progress) -> None:
        if checkpoints is not None:
            write_checkpoint(checkpoints, trained_state(learner.module), progress)

    return run_fit(learner, config, SingleProcess(device), progress, keep=keep, logs=logs, on_step=on_step)


def run_fit(
    learner: TrainingTask,
    config: FitConfig,
    crew: ProcessGroup,
    progress: Progress,
    *,
    keep: Callable[[Progress], None],
    logs: Path | None = None,
    on_step: OnStep | None = None,
) -> FitResult:
    """The steps of a fit that are still to do, as one worker of a crew does them.

    Args:
        learner: the task, the same on every worker; its module holds the parameters that belong to `progress`.
        config: how.
        crew: this worker's place among the others.
        progress: where the fit stands; advanced in place.
        keep: called on every worker when a checkpoint is due.
        logs: as in `fit_here`; rank 0 writes.
        on_step: as in `fit_here`; called on every worker.

    Raises:
        ConfigError: nothing to learn from or to train, more workers than examples in a batch, no such figure to watch, no word embeddings
            for FGM, or a loss that is not finite.
        ArtifactError: `progress` is of a fit with another config or number of examples.
    """
    timetable = _timetable(learner, config, crew)
    _refuse_another_fit(learner, config, progress)
    stepper = Stepper(learner, config, crew, timetable.num_steps)
    stepper.restore(progress)
    tracking = open_tracker(logs if crew.rank == 0 else None, config.track, first_step=progress.num_steps + 1)
    started_s, num_before, stop = time.monotonic(), progress.num_steps, _ended(progress, config, timetable)
    with tracking as tracker, torch.random.fork_rng(devices=[crew.device] if crew.device.type == "cuda" else []):
        while not stop:
            step = progress.num_steps
            loss, rate = stepper.step(timetable.batches(step), step)
            figures: Mapping[str, float] = {}
            if timetable.ends_epoch(step):
                figures = stepper.measure()
            progress.curve.append(CurvePoint(step=step + 1, loss=loss, learning_rate=rate, figures=figures))
            if figures:
                _keep_best(progress, config, learner.module)
            tracker.write(progress.curve[-1])
            stop = _ended(progress, config, timetable)
            if stop or (config.checkpoint_every and progress.num_steps % config.checkpoint_every == 0):
                stepper.keep(progress)
                keep(progress)
            if on_step is not None:
                left = 0 if stop else timetable.num_steps - progress.num_steps
                pace_s = (time.monotonic() - started_s) / (progress.num_steps - num_before)
                on_step(progress.num_steps, timetable.num_steps, left * pace_s)
    learner.module.eval()
    log_event("fitted", steps=progress.num_steps, loss=progress.curve[-1].loss, resumed=progress.num_resumed)
    result = fitted(trained_state(learner.module), progress)
    load_trained(learner.module, result.state)
    return result


def fitted(state: State, progress: Progress) -> FitResult:
    """What a fit gave whose last parameters are `state`: these, or the best where a figure is watched."""
    return FitResult(
        state=state if progress.best is None else progress.best,
        curve=tuple(progress.curve),
        num_steps=progress.num_steps,
        kept_step=progress.best_step or progress.num_steps,
        num_resumed=progress.num_resumed,
    )


def _timetable(learner: TrainingTask, config: FitConfig, crew: ProcessGroup) -> BatchSchedule:
    if learner.num_examples < 1:
        raise ConfigError("there is no example to learn from; look at what the learner was given")
    timetable = BatchSchedule(
        num_examples=learner.num_examples,
        epochs=config.epochs,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
        seed=config.seed,
    )
    if timetable.smallest_batch < crew.size:
        raise ConfigError(
            f"{crew.size} workers share batches of {timetable.smallest_batch} examples; raise batch_size or lower num_workers"
        )
    return timetable


def _refuse_another_fit(learner: TrainingTask, config: FitConfig, progress: Progress) -> None:
    made_by = f"{fingerprint(config)} {learner.num_examples}"
    if progress.made_by not in ("", made_by):
        raise ArtifactError(
            "the checkpoint is of a fit with other settings or another number of examples; remove it, or take those settings back"
        )
    progress.made_by = made_by


def _keep_best(progress: Progress, config: FitConfig, module: nn.Module) -> None:
    if not config.watch:
        return
    figure = progress.curve[-1].figures[config.watch]
    best = progress.curve[progress.best_step - 1].figures[config.watch] if progress.best_step else -math.inf
    if progress.best is None or figure > best or math.isnan(best):
        progress.best, progress.best_step = trained_state(module), progress.num_steps


def _ended(progress: Progress, config: FitConfig, timetable: BatchSchedule) -> bool:
    if progress.num_steps >= timetable.num_steps:
        return True
    if not config.patience or not progress.best_step or progress.num_steps % timetable.steps_per_epoch:
        return False
    return progress.num_steps - progress.best_step >= config.patience * timetable.steps_per_epoch
