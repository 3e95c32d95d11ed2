"""The processes that share a fit, as the loop sees them: alone, or several that compute one batch together.

Only `torch.distributed` is spoken here; who starts the processes is not this room's matter.

Letters: B examples of a global batch, b of them on one worker, W workers.


A module that lies in parts on the workers of a crew: how it is cut, and the way between a part and the whole tensor.

Each worker holds a part of every parameter, of its gradient and of what the optimiser keeps of it. The parameters of a layer are whole
while it computes, the others while the loss is computed. When that happens is `crew.py`'s matter.

Source: Zhao et al., PyTorch FSDP, VLDB 2023, arXiv:2304.11277; torch calls what is used here FSDP2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from intarsia.errors import ConfigError

MetricValues = dict[str, float]


class ProcessGroup(Protocol):
    """What a loop asks of the processes it runs in."""

    rank: int
    size: int
    device: torch.device

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module, on the device, whose gradients after a backward are the mean over the crew; its parameters may be other objects."""
        ...

    def no_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """While open, gradients of a shared module add up here alone."""
        ...

    def gather(self, own_b: torch.Tensor, sizes_W: Sequence[int]) -> torch.Tensor:
        """The rows of all workers in the order of their ranks."""
        ...

    def evaluate(self, module: nn.Module, measure: Callable[[], MetricValues]) -> MetricValues:
        """What `measure` gives on the worker of rank 0, on every worker; it may call parts of the shared module."""
        ...


class SingleProcess:
    """One process: nothing to share."""

    rank = 0
    size = 1

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module itself."""
        return module.to(self.device)

    def no_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """Nothing to hold back."""
        return nullcontext()

    def gather(self, own_b: torch.Tensor, sizes_W: Sequence[int]) -> torch.Tensor:
        """The rows themselves."""
        return own_b

    def evaluate(self, module: nn.Module, measure: Callable[[], MetricValues]) -> MetricValues:
        """What it gives."""
        return measure()


class DataParallel:
    """The workers of an initialised process group, as `DistributedDataParallel` knows them."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size, self.device = dist.get_rank(), dist.get_world_size(), device

    def wrap(self, module: nn.Module) -> nn.Module:
        """`DistributedDataParallel` around a module whose forward gives the loss of the whole batch.

        Parameters that the loss does not reach (a pooler that nobody reads) are found at each step. Buffers are not exchanged: those of
        rank 0 are kept in the end, as they would be if it sent them around.
        """
        return DistributedDataParallel(module.to(self.device), find_unused_parameters=True, broadcast_buffers=False)

    def no_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """`no_sync` of the shared module."""
        assert isinstance(module, DistributedDataParallel)
        return module.no_sync()

    def gather(self, own_b: torch.Tensor, sizes_W: Sequence[int]) -> torch.Tensor:
        """The rows of all workers, with a gradient for the own ones; workers may hold different numbers of rows.

        Args:
            own_b: [b, …]; the other axes and the type are the same on every worker.
            sizes_W: rows of each worker.
        """
        gathered: torch.Tensor = _Gather.apply(own_b, tuple(sizes_W), self.rank)
        return gathered

    def evaluate(self, module: nn.Module, measure: Callable[[], MetricValues]) -> MetricValues:
        """What rank 0 measured; the others wait for it."""
        told = [measure() if self.rank == 0 else {}]
        dist.broadcast_object_list(told, src=0, device=self.device)
        return told[0]


class FullySharded(DataParallel):
    """The workers of an initialised process group, each with a part of the parameters, of the gradients and of the optimiser's state."""

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module itself, cut into parts.

        Raises:
            ConfigError: it cannot be cut.
        """
        return shard(module, self.device)

    def no_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """Nothing is held back: gradients add up in parts, so that nobody holds them whole."""
        return nullcontext()

    def evaluate(self, module: nn.Module, measure: Callable[[], MetricValues]) -> MetricValues:
        """What rank 0 measured; the others measure the same, since none can compute without their parts."""
        with unsharded_outside_layers(module):
            found = measure()
        return super().evaluate(module, lambda: found)


class _Gather(torch.autograd.Function):
    """All-gather along the first axis.

    Every worker computes the same loss L of the same gathered rows, so each already holds all of dL/d(rows). Its own parameters see L only
    through its own rows: W times their gradient, averaged over the W workers by the data-parallel wrapper, is the sum of all
    contributions, which is what one worker would have computed. (Summing the W equal gradients, as a differentiable all-gather does, gives
    the same at the price of another exchange.)
    """

    @staticmethod
    def forward(ctx: Any, own_b: torch.Tensor, sizes_W: tuple[int, ...], rank: int) -> torch.Tensor:
        start = sum(sizes_W[:rank])
        ctx.own, ctx.size = slice(start, start + sizes_W[rank]), len(sizes_W)
        most = max(sizes_W)
        padded = own_b.new_zeros((most, *own_b.shape[1:]))
        padded[: len(own_b)] = own_b
        parts = [torch.empty_like(padded) for _ in sizes_W]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes_W, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradients[0][ctx.own] * ctx.size, None, None


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
def unsharded_outside_layers(module: nn.Module) -> Iterator[None]:
    """While open, parts of a sharded module can be called by themselves; every worker must call the same."""
    assert isinstance(module, FSDPModule)
    module.unshard()
    try:
        yield
    finally:
        module.reshard()


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU; of a tensor that lies in parts every worker must ask for it."""
    found: torch.Tensor = tensor.detach()
    if isinstance(found, DTensor):
        found = found.full_tensor()
    return found.cpu().clone()


def local_part(tensor: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """What of a whole tensor belongs beside `own`: this worker's part, or all where `own` is whole."""
    if not isinstance(own, DTensor):
        return tensor
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements, src_data_rank=None)


def full_optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """The state dict of an optimiser, its tensors whole and on the CPU."""
    state = optimiser.state_dict()
    kept = {n: {name: full_tensor(value) for name, value in of_one.items()} for n, of_one in state["state"].items()}
    return {**state, "state": kept}


def load_full_optimiser_state(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Take up what `whole_state` gave, with any number of workers."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    kept = {
        n: {
            name: local_part(value, parameters[n]) if value.shape == parameters[n].shape else value
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
