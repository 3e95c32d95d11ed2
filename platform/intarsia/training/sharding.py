"""A module that lies in parts on the workers of a crew: how it is cut, and the way between a part and the whole tensor.

Each worker holds a part of every parameter, of its gradient and of what the optimiser keeps of it. The parameters of a layer are whole
while it computes, the others while the loss is computed. When that happens is `crew.py`'s matter.

Source: Zhao et al., PyTorch FSDP, VLDB 2023, arXiv:2304.11277; torch calls what is used here FSDP2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from intarsia.errors import ConfigError


def shard(module: nn.Module, device: torch.device) -> nn.Module:
    """Cut a module that begins as it is on rank 0, each of its layers by itself and then the rest; in place, on the device.

    A parameter without axes (a temperature) cannot be cut: every worker keeps it, and its gradients are averaged.

    Raises:
        ConfigError: AdaLoRA is on it, or two layers share a parameter.
    """
    if any("lora_E" in name for name, _ in module.named_parameters()):
        raise ConfigError(
            "adalora weighs its ranks by whole matrices, and a sharded fit holds parts; set the adapter kind to lora, or shard to false"
        )
    layers = _layers_of(module)
    _refuse_shared(module, layers)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    _begin_as_first(module, device)
    kept = {parameter for parameter in module.parameters() if parameter.ndim == 0}
    for parameter in kept:
        parameter.data = parameter.data.to(device)
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_average)  # type: ignore[no-untyped-call]
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for part in (*layers, module):
        fully_shard(part, mesh=mesh, ignored_params=kept)
    return module


@contextmanager
def whole_outside_layers(module: nn.Module) -> Iterator[None]:
    """While open, parts of a sharded module can be called by themselves; every worker must call the same."""
    assert isinstance(module, FSDPModule)
    module.unshard()
    try:
        yield
    finally:
        module.reshard()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU; of a tensor that lies in parts every worker must ask for it."""
    found: torch.Tensor = tensor.detach()
    if isinstance(found, DTensor):
        found = found.full_tensor()
    return found.cpu().clone()


def part_like(tensor: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """What of a whole tensor belongs beside `own`: this worker's part, or all where `own` is whole."""
    if not isinstance(own, DTensor):
        return tensor
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements, src_data_rank=None)


def whole_state(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """The state dict of an optimiser, its tensors whole and on the CPU."""
    state = optimiser.state_dict()
    kept = {n: {name: whole(value) for name, value in of_one.items()} for n, of_one in state["state"].items()}
    return {**state, "state": kept}


def load_whole_state(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Take up what `whole_state` gave, with any number of workers."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    kept = {
        n: {
            name: part_like(value, parameters[n]) if value.shape == parameters[n].shape else value
            for name, value in of_one.items()
        }
        for n, of_one in state["state"].items()
    }
    optimiser.load_state_dict({**state, "state": kept})


def _layers_of(module: nn.Module) -> list[nn.Module]:
    """The members of the outermost lists of modules: of a transformer its layers."""
    if isinstance(module, nn.ModuleList):
        return [part for part in module if not isinstance(part, nn.ModuleList | nn.ModuleDict)]
    return list(dict.fromkeys(layer for child in module.children() for layer in _layers_of(child)))


def _refuse_shared(module: nn.Module, layers: list[nn.Module]) -> None:
    layer_of = {part: layer for layer in layers for part in layer.modules()}
    first: dict[nn.Parameter, nn.Module | None] = {}
    for name, part in module.named_modules():
        for own, parameter in part.named_parameters(recurse=False):
            if first.setdefault(parameter, layer_of.get(part)) is not layer_of.get(part):
                raise ConfigError(
                    f"{name}.{own} belongs to two layers, and a sharded fit cuts each by itself; set shard to false"
                )


def _begin_as_first(module: nn.Module, device: torch.device) -> None:
    """Give every worker what rank 0 holds, one tensor after the other."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            sent = tensor.detach().to(device)
            dist.broadcast(sent, src=0)
            tensor.copy_(sent)


def _average(parameter: torch.Tensor) -> None:
    assert parameter.grad is not None
    parameter.grad.div_(dist.get_world_size())
    dist.all_reduce(parameter.grad)
