"""The processes that share a fit: one process, data-parallel workers, or workers that shard the parameters (FSDP).

This module uses `torch.distributed` only; `onray/torch_training.py` starts the processes. With FSDP each worker has a
part of every parameter, of its gradient and of its optimiser state. The parameters of a layer are gathered while it
computes, the others while the loss is computed.

Letters: B examples of a global batch, b of them on one worker, W workers.

Source: Zhao et al., PyTorch FSDP, VLDB 2023, arXiv:2304.11277; torch calls the API used here FSDP2.
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
    """The operations that the training loop needs of its processes."""

    rank: int
    size: int
    device: torch.device

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module on the device; after a backward pass its gradients are the mean over the group.

        The parameters of the result may be other objects than before.
        """
        ...

    def no_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """Context in which gradients of a wrapped module add up locally, without synchronisation."""
        ...

    def gather(self, own_b: torch.Tensor, sizes_W: Sequence[int]) -> torch.Tensor:
        """The rows of all workers, in order of rank."""
        ...

    def evaluate(self, module: nn.Module, measure: Callable[[], MetricValues]) -> MetricValues:
        """Call `measure` on rank 0 and return its result on every worker; it may call parts of the wrapped module."""
        ...


class SingleProcess:
    """A group of one process."""

    rank = 0
    size = 1

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)

    def wrap(self, module: nn.Module) -> nn.Module:
        return module.to(self.device)

    def no_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()

    def gather(self, own_b: torch.Tensor, sizes_W: Sequence[int]) -> torch.Tensor:
        return own_b

    def evaluate(self, module: nn.Module, measure: Callable[[], MetricValues]) -> MetricValues:
        return measure()


class DataParallel:
    """The workers of an initialised process group, with `DistributedDataParallel`."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size, self.device = dist.get_rank(), dist.get_world_size(), device

    def wrap(self, module: nn.Module) -> nn.Module:
        """Wrap a module whose forward returns the loss of the whole batch.

        Parameters that the loss does not use (such as an unused pooler) are detected at each step. Buffers are not
        synchronised; those of rank 0 are kept at the end.
        """
        return DistributedDataParallel(module.to(self.device), find_unused_parameters=True, broadcast_buffers=False)

    def no_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        assert isinstance(module, DistributedDataParallel)
        return module.no_sync()

    def gather(self, own_b: torch.Tensor, sizes_W: Sequence[int]) -> torch.Tensor:
        """The rows of all workers, with a gradient for the own rows. Workers may have different numbers of rows.

        Args:
            own_b: [b, ...]; the other axes and the dtype are equal on all workers.
            sizes_W: number of rows of each worker.
        """
        gathered: torch.Tensor = _Gather.apply(own_b, tuple(sizes_W), self.rank)
        return gathered

    def evaluate(self, module: nn.Module, measure: Callable[[], MetricValues]) -> MetricValues:
        metrics = [measure() if self.rank == 0 else {}]
        dist.broadcast_object_list(metrics, src=0, device=self.device)
        return metrics[0]


class FullySharded(DataParallel):
    """The workers of an initialised process group; each has a part of the parameters, gradients and optimiser state."""

    def wrap(self, module: nn.Module) -> nn.Module:
        """Shard the module in place.

        Raises:
            ConfigError: it cannot be sharded; see `shard`.
        """
        return shard(module, self.device)

    def no_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """No-op: gradients are reduced at every backward pass, so that no worker has to store them whole."""
        return nullcontext()

    def evaluate(self, module: nn.Module, measure: Callable[[], MetricValues]) -> MetricValues:
        """Run `measure` on every worker, since none can compute without the parts of the others; return the result of
        rank 0.
        """
        with unsharded_outside_layers(module):
            metrics = measure()
        return super().evaluate(module, lambda: metrics)


class _Gather(torch.autograd.Function):
    """All-gather along the first axis.

    Every worker computes the same loss L of the same gathered rows, so each already has all of dL/d(rows). Its own
    parameters affect L only through its own rows: W times their gradient, averaged over the W workers by the
    data-parallel wrapper, is the sum of all contributions, which one worker alone would compute. (Summing the W equal
    gradients, as a differentiable all-gather does, gives the same with one more exchange.)
    """

    @staticmethod
    def forward(ctx: Any, own_b: torch.Tensor, sizes_W: tuple[int, ...], rank: int) -> torch.Tensor:
        start = sum(sizes_W[:rank])
        ctx.own, ctx.size = slice(start, start + sizes_W[rank]), len(sizes_W)
        max_size = max(sizes_W)
        padded = own_b.new_zeros((max_size, *own_b.shape[1:]))
        padded[: len(own_b)] = own_b
        parts = [torch.empty_like(padded) for _ in sizes_W]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes_W, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return gradients[0][ctx.own] * ctx.size, None, None


def shard(module: nn.Module, device: torch.device) -> nn.Module:
    """Shard a module with the weights of rank 0: each of its layers, then the rest; in place, on the device.

    A parameter without axes (a temperature) cannot be sharded: every worker keeps it, and its gradients are averaged.

    Raises:
        ConfigError: AdaLoRA is attached to it, or two layers share a parameter.
    """
    if any("lora_E" in name for name, _ in module.named_parameters()):
        raise ConfigError(
            "adalora needs whole matrices to allocate its ranks, but a sharded fit has parts; set the adapter kind to "
            "lora, or shard to false"
        )
    layers = _layers_of(module)
    _check_no_shared_parameters(module, layers)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    _broadcast_from_first(module, device)
    scalars = {parameter for parameter in module.parameters() if parameter.ndim == 0}
    for parameter in scalars:
        parameter.data = parameter.data.to(device)
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_average_gradient)  # type: ignore[no-untyped-call]
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for part in (*layers, module):
        fully_shard(part, mesh=mesh, ignored_params=scalars)
    return module


@contextmanager
def unsharded_outside_layers(module: nn.Module) -> Iterator[None]:
    """Context in which parts of a sharded module can be called on their own. Every worker must make the same calls."""
    assert isinstance(module, FSDPModule)
    module.unshard()
    try:
        yield
    finally:
        module.reshard()


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU. Of a sharded tensor every worker must call this."""
    full: torch.Tensor = tensor.detach()
    if isinstance(full, DTensor):
        full = full.full_tensor()
    return full.cpu().clone()


def local_part(tensor: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """The part of a full tensor that belongs to `own`: this worker's shard, or all of it if `own` is not sharded."""
    if not isinstance(own, DTensor):
        return tensor
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements, src_data_rank=None)


def full_optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """The state dict of an optimiser, with full tensors on the CPU."""
    state = optimiser.state_dict()
    full = {n: {name: full_tensor(value) for name, value in values.items()} for n, values in state["state"].items()}
    return {**state, "state": full}


def load_full_optimiser_state(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load the result of `full_optimiser_state`, with any number of workers."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    local = {
        n: {
            name: local_part(value, parameters[n]) if value.shape == parameters[n].shape else value
            for name, value in values.items()
        }
        for n, values in state["state"].items()
    }
    optimiser.load_state_dict({**state, "state": local})


def _layers_of(module: nn.Module) -> list[nn.Module]:
    """The members of the outermost module lists: the layers of a transformer."""
    if isinstance(module, nn.ModuleList):
        return [part for part in module if not isinstance(part, nn.ModuleList | nn.ModuleDict)]
    return list(dict.fromkeys(layer for child in module.children() for layer in _layers_of(child)))


def _check_no_shared_parameters(module: nn.Module, layers: list[nn.Module]) -> None:
    layer_of = {part: layer for layer in layers for part in layer.modules()}
    first: dict[nn.Parameter, nn.Module | None] = {}
    for name, part in module.named_modules():
        for own, parameter in part.named_parameters(recurse=False):
            if first.setdefault(parameter, layer_of.get(part)) is not layer_of.get(part):
                raise ConfigError(
                    f"{name}.{own} belongs to two layers, but a sharded fit shards each layer separately; set shard to "
                    "false"
                )


def _broadcast_from_first(module: nn.Module, device: torch.device) -> None:
    """Copy all parameters and buffers of rank 0 to every worker, one tensor at a time."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            buffer = tensor.detach().to(device)
            dist.broadcast(buffer, src=0)
            tensor.copy_(buffer)


def _average_gradient(parameter: torch.Tensor) -> None:
    assert parameter.grad is not None
    parameter.grad.div_(dist.get_world_size())
    dist.all_reduce(parameter.grad)
