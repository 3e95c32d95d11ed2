"""The training loop: settings, one optimiser step, and the steps of a whole fit; the same in one process and in
several.

`TrainingTask` defines what is trained; `onray/torch_training.py` starts the processes. A step is a pure function of the
config, the step number, the parameters, the extra state in a checkpoint (optimiser moments, AdaLoRA ranks) and, if the
module has dropout, the number of workers. So a fit resumed from a checkpoint, with the same number of workers, gives
the result of an uninterrupted fit.

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
from intarsia.training.schedule import BatchSchedule, ScheduleKind, rate_at, split_evenly
from intarsia.training.task import Rows, Tensors, TrainingTask
from intarsia.training.tracking import TrackerKind, open_tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """Settings of a fit.

    Without dropout the result does not depend on the number of workers. With dropout each worker draws its own masks,
    so another number of workers changes the curve and the parameters as another seed would.
    """

    epochs: int = setting("passes over the examples", 3)
    batch_size: int = setting("largest number of examples in one loss, over all workers", 64)
    accumulate: int = setting("batches whose gradients are averaged into one step", 1, advanced=True)
    learning_rate: float = setting("peak learning rate of AdamW", 2e-5)
    warmup_share: float = setting("share of the steps over which the rate rises from 0", 0.1, advanced=True)
    weight_decay: float = setting(
        "weight decay of AdamW, of matrices only (not biases and norms); 0: none", 0.01, advanced=True
    )
    schedule: ScheduleKind = setting("how the rate falls after the warm-up", "linear", advanced=True)
    max_grad_norm: float = setting("gradients are clipped to this norm; 0: no clipping", 1.0, advanced=True)
    checkpoint_every: int = setting("steps between checkpoints; 0: only at the end", 200, advanced=True)
    fgm_epsilon: float = setting(
        "length of the adversarial shift of the word embeddings (FGM); 0: no adversarial pass", 0.0, advanced=True
    )
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto: bf16 on a GPU that supports it, else fp32", "auto", advanced=True
    )
    seed: int = setting("seed of the order of the examples and of dropout", 0, advanced=True)
    watch: str = setting(
        "metric of the task, higher is better: the parameters of its best epoch are kept; empty keeps the last epoch",
        "",
        advanced=True,
    )
    patience: int = setting("stop after this many epochs without a better watched metric; 0: never", 0, advanced=True)
    track: TrackerKind = setting("tracker besides TensorBoard: mlflow or wandb", "", advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "epochs", "batch_size", "accumulate", low=1)
        check_range(self, "checkpoint_every", "patience", "seed", low=0)
        check_range(self, "weight_decay", "max_grad_norm", "fgm_epsilon", low=0.0)
        check_range(self, "warmup_share", low=0.0, high=1.0)
        if not self.learning_rate > 0.0:
            raise ValueError(f"learning_rate is {self.learning_rate}; allowed: above 0")
        if self.patience and not self.watch:
            raise ValueError(f"patience is {self.patience} and watch is empty; set watch to a metric, or patience to 0")


@runtime_checkable
class StepCallback(Protocol):
    """A task that is called after each step, such as one whose adapters change their ranks."""

    def after_step(self, step: int, num_steps: int) -> None:
        """Called with the steps done and of the whole fit, after the update and before the gradients are cleared."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A task whose next step depends on more than the parameters, such as one whose adapters change their ranks."""

    def extra_state(self) -> dict[str, Any]:
        """State that a checkpoint must have besides the parameters: tensors, numbers, strings, and lists and mappings
        of them.
        """
        ...

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `extra_state`."""
        ...


class _GlobalLoss(nn.Module):
    """Module with a worker's own inputs, and the loss of the global batch as output.

    The data-parallel wrapper goes around this module, loss included, so a parameter that only the loss reads (a
    temperature) is synchronised like any other.
    """

    def __init__(self, task: TrainingTask, config: FitConfig, group: ProcessGroup) -> None:
        super().__init__()
        self.module = task.module
        self._loss, self._group, self._seed = task.loss, group, config.seed
        self._half = _computes_in_bf16(config, group.device)

    def forward(self, inputs: Tensors, rows_B: Rows, sizes_W: list[int], draw: int) -> torch.Tensor:
        """Compute the loss, a scalar.

        `draw` numbers the pass. It seeds the dropout of the module, by rank, and that of the loss, equal on all
        workers.
        """
        torch.manual_seed(_mix_seed(self._seed, draw, 1 + self._group.rank))
        with torch.autocast(self._group.device.type, torch.bfloat16) if self._half else nullcontext():
            outputs = self.module(**inputs)
        gathered = {name: self._group.gather(_to_float32(tensor), sizes_W) for name, tensor in outputs.items()}
        torch.manual_seed(_mix_seed(self._seed, draw, 0))
        loss: torch.Tensor = self._loss(gathered, rows_B)
        return loss


class Stepper:
    """Runs single steps: forward, backward, adversarial pass, update."""

    def __init__(self, task: TrainingTask, config: FitConfig, group: ProcessGroup, num_steps: int) -> None:
        self._task, self._config, self._group, self._num_steps = task, config, group, num_steps
        task.module.train()
        if not any(parameter.requires_grad for parameter in task.module.parameters()):
            raise ConfigError("no parameter of the module is trainable; unfreeze some, or skip the fit")
        self._global_loss = group.wrap(_GlobalLoss(task, config, group))
        self._trained = [parameter for parameter in task.module.parameters() if parameter.requires_grad]
        self._shifted = word_embeddings(task.module) if config.fgm_epsilon else None
        decayed = [p for p in self._trained if p.ndim > 1]
        others = [p for p in self._trained if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)  # 4 times as fast on a CPU

    def restore(self, progress: FitProgress) -> None:
        """Restore the state that `keep` stored in an earlier part of the fit."""
        if progress.optimiser:
            load_full_optimiser_state(self.optimiser, progress.optimiser)
        if progress.task_state and isinstance(self._task, Stateful):
            self._task.load_extra_state(progress.task_state)

    def keep(self, progress: FitProgress) -> None:
        """Store in `progress` what the next step needs besides the parameters: optimiser moments and the extra state of
        the task.
        """
        progress.optimiser = full_optimiser_state(self.optimiser)
        if isinstance(self._task, Stateful):
            progress.task_state = self._task.extra_state()

    def step(self, batches: list[Rows], step: int) -> tuple[float, float]:
        """One update with the mean gradient of the batches; returns the mean loss before it, and the learning rate."""
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
            raise ConfigError(f"the loss is {loss} at step {step + 1}; lower learning_rate, or check the examples")
        if self._config.max_grad_norm:
            nn.utils.clip_grad_norm_(self._trained, self._config.max_grad_norm)
        self.optimiser.step()
        if isinstance(self._task, StepCallback):
            self._task.after_step(step + 1, self._num_steps)
        self.optimiser.zero_grad(set_to_none=True)
        return loss, rate

    def measure(self) -> dict[str, float]:
        """Metrics of the task with the module in evaluation mode, the same on every worker."""
        self._task.module.eval()
        metrics = self._group.evaluate(self._global_loss, self._metrics)
        self._task.module.train()
        if self._config.watch and self._config.watch not in metrics:
            allowed = ", ".join(metrics) or "none"
            raise ConfigError(f"watch is {self._config.watch!r}; allowed, metrics of this task: {allowed}")
        return metrics

    def _metrics(self) -> dict[str, float]:
        with torch.no_grad():
            return {name: float(value) for name, value in self._task.measure().items()}

    def _backward(self, rows_B: Rows, step: int, number: int, num_batches: int, *, is_last: bool) -> float:
        parts = split_evenly(rows_B, self._group.size)
        sizes_W = [len(part) for part in parts]
        inputs_of_task = self._task.inputs(parts[self._group.rank], step)
        inputs = {name: tensor.to(self._group.device) for name, tensor in inputs_of_task.items()}
        draw = _mix_seed(step, number, 0)
        shifted = self._shifted
        before = None if shifted is None or shifted.grad is None else shifted.grad.clone()
        with nullcontext() if is_last or shifted is not None else self._group.no_sync(self._global_loss):
            loss = self._global_loss(inputs, rows_B, sizes_W, draw) / num_batches
            loss.backward()
        if shifted is not None and shifted.grad is not None:
            gradient = shifted.grad.clone() if before is None else shifted.grad - before
            with perturbed(shifted, gradient, self._config.fgm_epsilon):
                (self._global_loss(inputs, rows_B, sizes_W, draw) / num_batches).backward()
        return float(loss.detach()) * num_batches


def _computes_in_bf16(config: FitConfig, device: torch.device) -> bool:
    if config.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return config.precision == "bf16"


def _to_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _mix_seed(*parts: int) -> int:
    """One number of 63 bits from several, as a seed."""
    mixed = 0
    for part in parts:
        mixed = (mixed * 1_000_003 + part + 1) % (1 << 63)
    return mixed


OnStep = Callable[[int, int, float], None]
"""Called after each step with: steps done, number of steps, seconds remaining."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """Result of a fit.

    Attributes:
        state: trained parameters and buffers by the module's names, on the CPU; `load_trained` loads them into a
            module.
        curve: one record per step; records at the end of an epoch have the metrics of the task.
        num_steps: steps done.
        kept_step: step after which `state` was taken: the last one, or the best by the watched metric.
        num_resumed: how many times the fit was resumed from a checkpoint.
    """

    state: State
    curve: tuple[StepRecord, ...]
    num_steps: int
    kept_step: int
    num_resumed: int

    @property
    def figures(self) -> Mapping[str, float]:
        """Metrics of the task at the kept step; empty if it measures none."""
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
    """Fit in this process. The task's module has the kept parameters afterwards.

    Args:
        task: its module is trained in place.
        config: settings of the fit.
        logs: folder for TensorBoard; None writes nothing.
        checkpoints: folder of checkpoints; the fit is resumed if there is one. None writes nothing.
        on_step: called after each step.
        device: torch device.

    Raises:
        ConfigError: the config does not suit the task, or the loss is not finite.
        ArtifactError: the checkpoint is damaged, or of another fit.
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
    """Run the remaining steps of a fit as one worker of a process group.

    Args:
        task: the same on every worker; its module has the parameters that belong to `progress`.
        config: settings of the fit.
        group: the process group of this worker.
        progress: how far the fit is; updated in place.
        keep: called on every worker when a checkpoint is due.
        logs: as in `fit_in_process`; only rank 0 writes.
        on_step: as in `fit_in_process`; called on every worker.

    Raises:
        ConfigError: there are no examples or no trainable parameters, more workers than examples in a batch, the
            watched metric does not exist, FGM finds no word embeddings, or the loss is not finite.
        ArtifactError: `progress` is of a fit with another config or number of examples.
    """
    schedule = _schedule(task, config, group)
    _check_same_fit(task, config, progress)
    stepper = Stepper(task, config, group, schedule.num_steps)
    stepper.restore(progress)
    tracking = open_tracker(logs if group.rank == 0 else None, config.track, first_step=progress.num_steps + 1)
    started_s, first_step, is_ended = time.monotonic(), progress.num_steps, _is_ended(progress, config, schedule)
    with tracking as tracker, torch.random.fork_rng(devices=[group.device] if group.device.type == "cuda" else []):
        while not is_ended:
            step = progress.num_steps
            loss, rate = stepper.step(schedule.batches(step), step)
            metrics: Mapping[str, float] = {}
            if schedule.ends_epoch(step):
                metrics = stepper.measure()
            progress.curve.append(StepRecord(step=step + 1, loss=loss, learning_rate=rate, figures=metrics))
            if metrics:
                _keep_best(progress, config, task.module)
            tracker.write(progress.curve[-1])
            is_ended = _is_ended(progress, config, schedule)
            if is_ended or (config.checkpoint_every and progress.num_steps % config.checkpoint_every == 0):
                stepper.keep(progress)
                keep(progress)
            if on_step is not None:
                num_left = 0 if is_ended else schedule.num_steps - progress.num_steps
                step_s = (time.monotonic() - started_s) / (progress.num_steps - first_step)
                on_step(progress.num_steps, schedule.num_steps, num_left * step_s)
    task.module.eval()
    log_event("fitted", steps=progress.num_steps, loss=progress.curve[-1].loss, resumed=progress.num_resumed)
    result = fit_result(trained_state(task.module), progress)
    load_trained(task.module, result.state)
    return result


def fit_result(state: State, progress: FitProgress) -> FitResult:
    """The result of a fit that ended with parameters `state`: these, or the best ones if a metric is watched."""
    return FitResult(
        state=state if progress.best is None else progress.best,
        curve=tuple(progress.curve),
        num_steps=progress.num_steps,
        kept_step=progress.best_step or progress.num_steps,
        num_resumed=progress.num_resumed,
    )


def _schedule(task: TrainingTask, config: FitConfig, group: ProcessGroup) -> BatchSchedule:
    if task.num_examples < 1:
        raise ConfigError("the task has no examples; check its training data")
    schedule = BatchSchedule(
        num_examples=task.num_examples,
        epochs=config.epochs,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
        seed=config.seed,
    )
    if schedule.smallest_batch < group.size:
        raise ConfigError(
            f"{group.size} workers for batches of {schedule.smallest_batch} examples; raise batch_size or lower "
            "num_workers"
        )
    return schedule


def _check_same_fit(task: TrainingTask, config: FitConfig, progress: FitProgress) -> None:
    made_by = f"{fingerprint(config)} {task.num_examples}"
    if progress.made_by not in ("", made_by):
        raise ArtifactError(
            "the checkpoint is of a fit with other settings or another number of examples; remove it, or restore those "
            "settings"
        )
    progress.made_by = made_by


def _keep_best(progress: FitProgress, config: FitConfig, module: nn.Module) -> None:
    if not config.watch:
        return
    metric = progress.curve[-1].figures[config.watch]
    best = progress.curve[progress.best_step - 1].figures[config.watch] if progress.best_step else -math.inf
    if progress.best is None or metric > best or math.isnan(best):
        progress.best, progress.best_step = trained_state(module), progress.num_steps


def _is_ended(progress: FitProgress, config: FitConfig, schedule: BatchSchedule) -> bool:
    if progress.num_steps >= schedule.num_steps:
        return True
    if not config.patience or not progress.best_step or progress.num_steps % schedule.steps_per_epoch:
        return False
    return progress.num_steps - progress.best_step >= config.patience * schedule.steps_per_epoch
