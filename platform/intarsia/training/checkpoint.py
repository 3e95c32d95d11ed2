"""What a fit must keep to go on where it stopped, and what it gives when it ends: trained parameters and buffers by name.

A checkpoint is one file, written aside and moved into its place, so that a reader sees it whole or not at all. When one is taken is
the loop's matter.
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

_FILE = "fit.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One step of a learning curve.

    Attributes:
        step: steps done, from 1.
        loss: mean loss of the step's examples before its update.
        learning_rate: what the update was made with.
        figures: what the learner measured after this step, by name; empty but at the end of an epoch.
    """

    step: int
    loss: float
    learning_rate: float
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class FitProgress:
    """Where a fit stands.

    Attributes:
        curve: one point for every step done.
        num_resumed: how often the fit went on from a checkpoint.
        best: the parameters after the epoch with the highest watched figure; none while nothing is watched.
        best_step: steps done when `best` was taken.
        optimiser: the optimiser's own state; empty before the first step.
        learner: what the learner keeps beside its parameters, such as the ranks of its adapters; empty where it keeps nothing.
        made_by: names the settings and the examples of the fit; empty before it starts.
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
        """Steps done."""
        return len(self.curve)


def trained_state(module: nn.Module) -> State:
    """Copies, on the CPU, of the parameters that are trained and of the buffers that a state dict holds.

    A weight that two layers share is held once, under its first name. Of a sharded module every worker must ask.
    """
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    frozen = {name for name, _ in module.named_parameters(remove_duplicate=False)} - trained
    return {name: full_tensor(tensor) for name, tensor in module.state_dict().items() if name not in frozen}


def load_trained(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Put what `trained_state` gave into a module of the same architecture, in place.

    Raises:
        ArtifactError: a trained parameter is missing, or a name or shape is not the module's.
    """
    own = module.state_dict()
    for name, tensor in state.items():
        if name not in own:
            raise ArtifactError(f"fitted parameters hold {name}, which the module has not; fit this architecture again")
        if own[name].shape != tensor.shape:
            raise ArtifactError(
                f"fitted parameter {name} is {tuple(tensor.shape)}, the module's is {tuple(own[name].shape)}; "
                "fit this architecture again"
            )
    missing = [name for name, parameter in module.named_parameters() if parameter.requires_grad and name not in state]
    if missing:
        raise ArtifactError(f"fitted parameters lack {missing[0]}; fit this architecture again")
    module.load_state_dict({name: local_part(tensor, own[name]) for name, tensor in state.items()}, strict=False)


def write_checkpoint(folder: Path, state: State, progress: FitProgress) -> None:
    """Write what `trained_state` gave, and the progress, into `folder` in one step; it replaces the checkpoint that lies there."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{_FILE}.{uuid.uuid4().hex}"
    kept = {name.name: getattr(progress, name.name) for name in fields(progress)}
    kept["curve"] = [asdict(point) for point in progress.curve]
    try:
        with aside.open("wb") as file:
            torch.save({"state": state, "progress": kept}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, folder / _FILE)
    finally:
        aside.unlink(missing_ok=True)


def has_checkpoint(folder: Path) -> bool:
    """Whether a checkpoint lies in `folder`."""
    return (folder / _FILE).is_file()


def read_checkpoint(folder: Path) -> tuple[State, FitProgress]:
    """The parameters and the progress that `write_checkpoint` wrote, on the CPU.

    Raises:
        ArtifactError: no checkpoint lies there, or it is torn.
    """
    try:
        content = torch.load(folder / _FILE, map_location="cpu", weights_only=True)
        kept = content["progress"]
        curve = [StepRecord(**point) for point in kept.pop("curve")]
        return content["state"], FitProgress(curve=curve, **kept)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise ArtifactError(f"checkpoint {folder} cannot be read ({error}); start the fit anew") from error
