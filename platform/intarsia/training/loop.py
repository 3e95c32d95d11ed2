"""The settings of a fit; what each step makes of them is `loop.py`'s and `step.py`'s matter.

One step of a fit: forward on the own examples, the loss of the whole batch, backward, adversarial pass, update.

Which step comes when is `loop.py`'s matter, what the gradients of several workers become is `crew.py`'s.

Letters: B examples of a global batch, b of them on one worker, W workers.


The training loop: batches in, steps of AdamW, a learning curve out; the same loop in one process and in a crew of them.

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
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import nn

from intarsia.config import check_range, fingerprint, setting
from intarsia.errors import ArtifactError, ConfigError
from intarsia.logs import log_event
from intarsia.training.adversarial import perturbed, word_embeddings
from intarsia.training.checkpoint import (
    FitProgress,
    State,
    StepRecord,
    has_checkpoint,
    load_trained,
    read_checkpoint,
    trained_state,
    write_checkpoint,
)
from intarsia.training.process_group import ProcessGroup, SingleProcess, full_optimiser_state, load_full_optimiser_state
from intarsia.training.schedule import BatchSchedule, ScheduleKind, rate_at, shares
from intarsia.training.task import Rows, Tensors, TrainingTask
from intarsia.training.tracking import TrackerKind, open_tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How something is fitted.

    Without dropout none of it depends on the number of workers. A module that drops out draws its masks by worker, so that two workers
    give another curve and other parameters than one, as another seed would.
    """

    epochs: int = setting("how often each example is shown", 3)
    batch_size: int = setting("the most examples that one loss sees together, over all workers", 64)
    accumulate: int = setting("batches whose gradients are averaged into one step", 1)
    learning_rate: float = setting("the highest rate of AdamW", 2e-5)
    warmup_share: float = setting("share of the steps over which the rate rises from 0", 0.1)
    weight_decay: float = setting(
        "decay of weights, per unit of the rate; biases and norms are left alone; 0 is none", 0.01
    )
    schedule: ScheduleKind = setting("how the rate falls after it has risen", "linear")
    max_grad_norm: float = setting("gradients longer than this are shortened to it; 0 leaves them", 1.0)
    checkpoint_every: int = setting("steps from one checkpoint to the next; 0 takes none before the end", 200)
    fgm_epsilon: float = setting("length of the adversarial push on the word embeddings (FGM); 0 is none", 0.0)
    precision: Literal["auto", "fp32", "bf16"] = setting("auto: bf16 on a GPU that has it, else fp32", "auto")
    seed: int = setting("orders the examples and draws dropout", 0)
    watch: str = setting(
        "the figure of the learner whose best epoch is kept, higher is better; empty keeps the last", ""
    )
    patience: int = setting("epochs without a better watched figure after which the fit stops; 0 never stops it", 0)
    track: TrackerKind = setting("where else the curve goes, beside TensorBoard", "")

    def __post_init__(self) -> None:
        check_range(self, "epochs", "batch_size", "accumulate", low=1)
        check_range(self, "checkpoint_every", "patience", "seed", low=0)
        check_range(self, "weight_decay", "max_grad_norm", "fgm_epsilon", low=0.0)
        check_range(self, "warmup_share", low=0.0, high=1.0)
        if not self.learning_rate > 0.0:
            raise ValueError(f"learning_rate is {self.learning_rate}; allowed: above 0")
        if self.patience and not self.watch:
            raise ValueError(f"patience is {self.patience} and watch is empty; name the figure to watch")


@runtime_checkable
class StepCallback(Protocol):
    """A learner that must be told of steps, such as one whose adapters change their rank while they learn."""

    def after_step(self, step: int, num_steps: int) -> None:
        """Called with the steps done and in all, after the update and before the gradients are dropped."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A learner whose next step depends on more than the parameters, such as one whose adapters change their rank while they learn."""

    def extra_state(self) -> dict[str, Any]:
        """What a checkpoint must hold beside the parameters: tensors, numbers, words, and lists and mappings of them."""
        ...

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `kept_state` gave."""
        ...


class _WholeLoss(nn.Module):
    """Inputs of a worker's own examples in, the loss of the whole batch out.

    It is the module that is shared, loss and all: so a parameter that only the loss reads (a temperature) is exchanged like any other.
    """

    def __init__(self, task: TrainingTask, config: FitConfig, group: ProcessGroup) -> None:
        super().__init__()
        self.module = task.module
        self._loss, self._group, self._seed = task.loss, group, config.seed
        self._half = _computes_in_bf16(config, group.device)

    def forward(self, inputs: Tensors, rows_B: Rows, sizes_W: list[int], draw: int) -> torch.Tensor:
        """A scalar; `draw` numbers the pass and seeds its dropout, of the module by rank, of the loss alike on all workers."""
        torch.manual_seed(_mixed(self._seed, draw, 1 + self._group.rank))
        with torch.autocast(self._group.device.type, torch.bfloat16) if self._half else nullcontext():
            outputs = self.module(**inputs)
        whole = {name: self._group.gather(_in_full(tensor), sizes_W) for name, tensor in outputs.items()}
        torch.manual_seed(_mixed(self._seed, draw, 0))
        loss: torch.Tensor = self._loss(whole, rows_B)
        return loss


class Stepper:
    """Makes one step after the other: forward, backward, adversarial pass, update."""

    def __init__(self, task: TrainingTask, config: FitConfig, group: ProcessGroup, num_steps: int) -> None:
        self._task, self._config, self._group, self._num_steps = task, config, group, num_steps
        task.module.train()
        if not any(parameter.requires_grad for parameter in task.module.parameters()):
            raise ConfigError("no parameter of the module is trained; unfreeze some, or leave the fit out")
        self._whole = group.wrap(_WholeLoss(task, config, group))
        self._trained = [parameter for parameter in task.module.parameters() if parameter.requires_grad]
        self._pushed = word_embeddings(task.module) if config.fgm_epsilon else None
        decayed = [p for p in self._trained if p.ndim > 1]
        others = [p for p in self._trained if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)  # on a CPU 4 times as fast

    def restore(self, progress: FitProgress) -> None:
        """Take up what `keep` put there in an earlier part of the fit."""
        if progress.optimiser:
            load_full_optimiser_state(self.optimiser, progress.optimiser)
        if progress.task_state and isinstance(self._task, Stateful):
            self._task.load_extra_state(progress.task_state)

    def keep(self, progress: FitProgress) -> None:
        """Put there what the next step depends on beside the parameters: the optimiser's moments, and what the learner keeps."""
        progress.optimiser = full_optimiser_state(self.optimiser)
        if isinstance(self._task, Stateful):
            progress.task_state = self._task.extra_state()

    def step(self, batches: list[Rows], step: int) -> tuple[float, float]:
        """One update over the batches' mean gradient; gives the mean loss before it, and the rate."""
        rate = rate_at(
            step,
            self._num_steps,
            peak=self._config.learning_rate,
            warmup_share=self._config.warmup_share,
            kind=self._config.schedule,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        losses = [
            self._backward(rows_B, step, number, len(batches), is_last=number + 1 == len(batches))
            for number, rows_B in enumerate(batches)
        ]
        loss = sum(losses) / len(losses)
        if not math.isfinite(loss):
            raise ConfigError(f"the loss is {loss} at step {step + 1}; lower learning_rate, or look at its examples")
        if self._config.max_grad_norm:
            nn.utils.clip_grad_norm_(self._trained, self._config.max_grad_norm)
        self.optimiser.step()
        if isinstance(self._task, StepCallback):
            self._task.after_step(step + 1, self._num_steps)
        self.optimiser.zero_grad(set_to_none=True)
        return loss, rate

    def measure(self) -> dict[str, float]:
        """The learner's figures of the module in its evaluating mode, the same on every worker."""
        self._task.module.eval()
        figures = self._group.evaluate(self._whole, self._figures)
        self._task.module.train()
        if self._config.watch and self._config.watch not in figures:
            known = ", ".join(figures) or "none"
            raise ConfigError(f"watch is {self._config.watch!r}; the learner measures: {known}")
        return figures

    def _figures(self) -> dict[str, float]:
        with torch.no_grad():
            return {name: float(value) for name, value in self._task.measure().items()}

    def _backward(self, rows_B: Rows, step: int, number: int, num_batches: int, *, is_last: bool) -> float:
        parts = shares(rows_B, self._group.size)
        sizes_W = [len(part) for part in parts]
        given = self._task.inputs(parts[self._group.rank], step)
        inputs = {name: tensor.to(self._group.device) for name, tensor in given.items()}
        draw = _mixed(step, number, 0)
        pushed = self._pushed
        before = None if pushed is None or pushed.grad is None else pushed.grad.clone()
        with nullcontext() if is_last or pushed is not None else self._group.no_sync(self._whole):
            loss = self._whole(inputs, rows_B, sizes_W, draw) / num_batches
            loss.backward()
        if pushed is not None and pushed.grad is not None:
            gradient = pushed.grad.clone() if before is None else pushed.grad - before
            with perturbed(pushed, gradient, self._config.fgm_epsilon):
                (self._whole(inputs, rows_B, sizes_W, draw) / num_batches).backward()
        return float(loss.detach()) * num_batches


def _computes_in_bf16(config: FitConfig, device: torch.device) -> bool:
    if config.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return config.precision == "bf16"


def _in_full(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _mixed(*parts: int) -> int:
    """One number of 63 bits from several, as a seed."""
    mixed = 0
    for part in parts:
        mixed = (mixed * 1_000_003 + part + 1) % (1 << 63)
    return mixed


__all__ = ["FitConfig", "FitResult", "OnStep", "fit_in_process", "fit_result", "run_fit"]

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
    curve: tuple[StepRecord, ...]
    num_steps: int
    kept_step: int
    num_resumed: int

    @property
    def figures(self) -> Mapping[str, float]:
        """The learner's figures at the kept step; empty when it measures nothing."""
        return self.curve[self.kept_step - 1].figures


def fit_in_process(
    task: TrainingTask,
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
    progress = FitProgress()
    if checkpoints is not None and has_checkpoint(checkpoints):
        state, progress = read_checkpoint(checkpoints)
        load_trained(task.module, state)
        progress.num_resumed += 1

    def keep(progress: FitProgress) -> None:
        if checkpoints is not None:
            write_checkpoint(checkpoints, trained_state(task.module), progress)

    return run_fit(task, config, SingleProcess(device), progress, keep=keep, logs=logs, on_step=on_step)


def run_fit(
    task: TrainingTask,
    config: FitConfig,
    group: ProcessGroup,
    progress: FitProgress,
    *,
    keep: Callable[[FitProgress], None],
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
    schedule = _schedule(task, config, group)
    _refuse_another_fit(task, config, progress)
    stepper = Stepper(task, config, group, schedule.num_steps)
    stepper.restore(progress)
    tracking = open_tracker(logs if group.rank == 0 else None, config.track, first_step=progress.num_steps + 1)
    started_s, num_before, stop = time.monotonic(), progress.num_steps, _ended(progress, config, schedule)
    with tracking as tracker, torch.random.fork_rng(devices=[group.device] if group.device.type == "cuda" else []):
        while not stop:
            step = progress.num_steps
            loss, rate = stepper.step(schedule.batches(step), step)
            figures: Mapping[str, float] = {}
            if schedule.ends_epoch(step):
                figures = stepper.measure()
            progress.curve.append(StepRecord(step=step + 1, loss=loss, learning_rate=rate, figures=figures))
            if figures:
                _keep_best(progress, config, task.module)
            tracker.write(progress.curve[-1])
            stop = _ended(progress, config, schedule)
            if stop or (config.checkpoint_every and progress.num_steps % config.checkpoint_every == 0):
                stepper.keep(progress)
                keep(progress)
            if on_step is not None:
                left = 0 if stop else schedule.num_steps - progress.num_steps
                pace_s = (time.monotonic() - started_s) / (progress.num_steps - num_before)
                on_step(progress.num_steps, schedule.num_steps, left * pace_s)
    task.module.eval()
    log_event("fitted", steps=progress.num_steps, loss=progress.curve[-1].loss, resumed=progress.num_resumed)
    result = fit_result(trained_state(task.module), progress)
    load_trained(task.module, result.state)
    return result


def fit_result(state: State, progress: FitProgress) -> FitResult:
    """What a fit gave whose last parameters are `state`: these, or the best where a figure is watched."""
    return FitResult(
        state=state if progress.best is None else progress.best,
        curve=tuple(progress.curve),
        num_steps=progress.num_steps,
        kept_step=progress.best_step or progress.num_steps,
        num_resumed=progress.num_resumed,
    )


def _schedule(task: TrainingTask, config: FitConfig, group: ProcessGroup) -> BatchSchedule:
    if task.num_examples < 1:
        raise ConfigError("there is no example to learn from; look at what the learner was given")
    schedule = BatchSchedule(
        num_examples=task.num_examples,
        epochs=config.epochs,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
        seed=config.seed,
    )
    if schedule.smallest_batch < group.size:
        raise ConfigError(
            f"{group.size} workers share batches of {schedule.smallest_batch} examples; raise batch_size or lower num_workers"
        )
    return schedule


def _refuse_another_fit(task: TrainingTask, config: FitConfig, progress: FitProgress) -> None:
    made_by = f"{fingerprint(config)} {task.num_examples}"
    if progress.made_by not in ("", made_by):
        raise ArtifactError(
            "the checkpoint is of a fit with other settings or another number of examples; remove it, or take those settings back"
        )
    progress.made_by = made_by


def _keep_best(progress: FitProgress, config: FitConfig, module: nn.Module) -> None:
    if not config.watch:
        return
    figure = progress.curve[-1].figures[config.watch]
    best = progress.curve[progress.best_step - 1].figures[config.watch] if progress.best_step else -math.inf
    if progress.best is None or figure > best or math.isnan(best):
        progress.best, progress.best_step = trained_state(module), progress.num_steps


def _ended(progress: FitProgress, config: FitConfig, schedule: BatchSchedule) -> bool:
    if progress.num_steps >= schedule.num_steps:
        return True
    if not config.patience or not progress.best_step or progress.num_steps % schedule.steps_per_epoch:
        return False
    return progress.num_steps - progress.best_step >= config.patience * schedule.steps_per_epoch
