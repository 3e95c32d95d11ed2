"""The state of a fit: trained parameters and buffers by name, and its progress; checkpoints on disk.

A checkpoint is one file, written to a temporary name and renamed, so a reader never sees half of it. `loop.py` decides
when a checkpoint is taken.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from intarsia.errors import ArtifactError
from intarsia.training.process_group import full_tensor, local_part

State = dict[str, torch.Tensor]

_CHECKPOINT_FILE = "fit.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One step of a learning curve.

    Attributes:
        step: steps done, from 1.
        loss: mean loss of the step's examples before the update.
        learning_rate: rate of the update.
        figures: metrics that the task measured after this step, by name; empty except at the end of an epoch.
    """

    step: int
    loss: float
    learning_rate: float
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class FitProgress:
    """How far a fit is.

    Attributes:
        curve: one record per step done.
        num_resumed: how many times the fit was resumed from a checkpoint.
        best: parameters after the epoch with the highest watched metric; None if no metric is watched.
        best_step: steps done when `best` was taken.
        optimiser: state of the optimiser; empty before the first step.
        task_state: state of the task besides its parameters, such as the ranks of adapters; empty if it has none.
        made_by: fingerprint of the settings and number of examples of the fit; empty before it starts.
    """

    curve: list[StepRecord] = field(default_factory=list)
    num_resumed: int = 0
    best: State | None = None
    best_step: int = 0
    optimiser: dict[str, Any] = field(default_factory=dict)
    task_state: dict[str, Any] = field(default_factory=dict)
    made_by: str = ""

    @property
    def num_steps(self) -> int:
        return len(self.curve)


def trained_state(module: nn.Module) -> State:
    """Copy the trained parameters and the buffers of a module to the CPU, by name.

    A weight that two layers share is stored once, under its first name. Of a sharded module every worker must call
    this.
    """
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    frozen = {name for name, _ in module.named_parameters(remove_duplicate=False)} - trained
    return {name: full_tensor(tensor) for name, tensor in module.state_dict().items() if name not in frozen}


def load_trained(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load the result of `trained_state` into a module of the same architecture, in place.

    Raises:
        ArtifactError: a trained parameter is missing, or a name or shape differs from the module's.
    """
    module_state = module.state_dict()
    for name, tensor in state.items():
        if name not in module_state:
            raise ArtifactError(
                f"fitted parameters contain {name}, which the module does not have; fit this architecture again"
            )
        if module_state[name].shape != tensor.shape:
            raise ArtifactError(
                f"fitted parameter {name} has shape {tuple(tensor.shape)}, the module's has "
                f"{tuple(module_state[name].shape)}; fit this architecture again"
            )
    missing = [name for name, parameter in module.named_parameters() if parameter.requires_grad and name not in state]
    if missing:
        raise ArtifactError(f"fitted parameters lack {missing[0]}; fit this architecture again")
    module.load_state_dict(
        {name: local_part(tensor, module_state[name]) for name, tensor in state.items()}, strict=False
    )


def write_checkpoint(folder: Path, state: State, progress: FitProgress) -> None:
    """Write the result of `trained_state`, and the progress, into `folder` atomically; an earlier checkpoint is
    replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{_CHECKPOINT_FILE}.{uuid.uuid4().hex}"
    fields_of_progress = {field.name: getattr(progress, field.name) for field in fields(progress)}
    fields_of_progress["curve"] = [asdict(point) for point in progress.curve]
    try:
        with temporary.open("wb") as file:
            torch.save({"state": state, "progress": fields_of_progress}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / _CHECKPOINT_FILE)
    finally:
        temporary.unlink(missing_ok=True)


def has_checkpoint(folder: Path) -> bool:
    """Whether `folder` contains a checkpoint."""
    return (folder / _CHECKPOINT_FILE).is_file()


def read_checkpoint(folder: Path) -> tuple[State, FitProgress]:
    """Read the parameters and the progress that `write_checkpoint` wrote, to the CPU.

    Raises:
        ArtifactError: there is no checkpoint, or it is damaged or of another version.
    """
    try:
        content = torch.load(folder / _CHECKPOINT_FILE, map_location="cpu", weights_only=True)
        stored = content["progress"]
        curve = [StepRecord(**point) for point in stored.pop("curve")]
        return content["state"], FitProgress(curve=curve, **stored)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"checkpoint {folder} cannot be read ({error}); remove it and start the fit again"
        ) from error
