"""One step of a fit: forward on the own examples, the loss of the whole batch, backward, adversarial pass, update.

Which step comes when is `loop.py`'s matter, what the gradients of several workers become is `crew.py`'s.

Letters: B examples of a global batch, b of them on one worker, W workers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from intarsia.errors import ConfigError
from intarsia.training.adversarial import perturbed, word_embeddings
from intarsia.training.checkpoint import Progress
from intarsia.training.fit_config import FitConfig
from intarsia.training.process_group import ProcessGroup
from intarsia.training.schedule import rate_at, shares
from intarsia.training.sharding import load_whole_state, whole_state
from intarsia.training.task import Rows, Tensors, TrainingTask


@runtime_checkable
class StepCallback(Protocol):
    """A learner that must be told of steps, such as one whose adapters change their rank while they learn."""

    def after_step(self, step: int, num_steps: int) -> None:
        """Called with the steps done and in all, after the update and before the gradients are dropped."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A learner whose next step depends on more than the parameters, such as one whose adapters change their rank while they learn."""

    def kept_state(self) -> dict[str, Any]:
        """What a checkpoint must hold beside the parameters: tensors, numbers, words, and lists and mappings of them."""
        ...

    def load_kept_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `kept_state` gave."""
        ...


class _WholeLoss(nn.Module):
    """Inputs of a worker's own examples in, the loss of the whole batch out.

    It is the module that is shared, loss and all: so a parameter that only the loss reads (a temperature) is exchanged like any other.
    """

    def __init__(self, learner: TrainingTask, config: FitConfig, crew: ProcessGroup) -> None:
        super().__init__()
        self.module = learner.module
        self._loss, self._crew, self._seed = learner.loss, crew, config.seed
        self._half = _computes_in_bf16(config, crew.device)

    def forward(self, inputs: Tensors, rows_B: Rows, sizes_W: list[int], draw: int) -> torch.Tensor:
        """A scalar; `draw` numbers the pass and seeds its dropout, of the module by rank, of the loss alike on all workers."""
        torch.manual_seed(_mixed(self._seed, draw, 1 + self._crew.rank))
        with torch.autocast(self._crew.device.type, torch.bfloat16) if self._half else nullcontext():
            outputs = self.module(**inputs)
        whole = {name: self._crew.gather(_in_full(tensor), sizes_W) for name, tensor in outputs.items()}
        torch.manual_seed(_mixed(self._seed, draw, 0))
        loss: torch.Tensor = self._loss(whole, rows_B)
        return loss


class Stepper:
    """Makes one step after the other: forward, backward, adversarial pass, update."""

    def __init__(self, learner: TrainingTask, config: FitConfig, crew: ProcessGroup, num_steps: int) -> None:
        self._learner, self._config, self._crew, self._num_steps = learner, config, crew, num_steps
        learner.module.train()
        if not any(parameter.requires_grad for parameter in learner.module.parameters()):
            raise ConfigError("no parameter of the module is trained; unfreeze some, or leave the fit out")
        self._whole = crew.share(_WholeLoss(learner, config, crew))
        self._trained = [parameter for parameter in learner.module.parameters() if parameter.requires_grad]
        self._pushed = word_embeddings(learner.module) if config.fgm_epsilon else None
        decayed = [p for p in self._trained if p.ndim > 1]
        others = [p for p in self._trained if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)  # on a CPU 4 times as fast

    def restore(self, progress: Progress) -> None:
        """Take up what `keep` put there in an earlier part of the fit."""
        if progress.optimiser:
            load_whole_state(self.optimiser, progress.optimiser)
        if progress.learner and isinstance(self._learner, Stateful):
            self._learner.load_kept_state(progress.learner)

    def keep(self, progress: Progress) -> None:
        """Put there what the next step depends on beside the parameters: the optimiser's moments, and what the learner keeps."""
        progress.optimiser = whole_state(self.optimiser)
        if isinstance(self._learner, Stateful):
            progress.learner = self._learner.kept_state()

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
        if isinstance(self._learner, StepCallback):
            self._learner.after_step(step + 1, self._num_steps)
        self.optimiser.zero_grad(set_to_none=True)
        return loss, rate

    def measure(self) -> dict[str, float]:
        """The learner's figures of the module in its evaluating mode, the same on every worker."""
        self._learner.module.eval()
        figures = self._crew.measured(self._whole, self._figures)
        self._learner.module.train()
        if self._config.watch and self._config.watch not in figures:
            known = ", ".join(figures) or "none"
            raise ConfigError(f"watch is {self._config.watch!r}; the learner measures: {known}")
        return figures

    def _figures(self) -> dict[str, float]:
        with torch.no_grad():
            return {name: float(value) for name, value in self._learner.measure().items()}

    def _backward(self, rows_B: Rows, step: int, number: int, num_batches: int, *, is_last: bool) -> float:
        parts = shares(rows_B, self._crew.size)
        sizes_W = [len(part) for part in parts]
        given = self._learner.inputs(parts[self._crew.rank], step)
        inputs = {name: tensor.to(self._crew.device) for name, tensor in given.items()}
        draw = _mixed(step, number, 0)
        pushed = self._pushed
        before = None if pushed is None or pushed.grad is None else pushed.grad.clone()
        with nullcontext() if is_last or pushed is not None else self._crew.unshared(self._whole):
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
