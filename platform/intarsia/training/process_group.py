"""The processes that share a fit, as the loop sees them: alone, or several that compute one batch together.

Only `torch.distributed` is spoken here; who starts the processes is not this room's matter.

Letters: B examples of a global batch, b of them on one worker, W workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from intarsia.training.sharding import shard, whole_outside_layers

MetricValues = dict[str, float]


class ProcessGroup(Protocol):
    """What a loop asks of the processes it runs in."""

    rank: int
    size: int
    device: torch.device

    def share(self, module: nn.Module) -> nn.Module:
        """The module, on the device, whose gradients after a backward are the mean over the crew; its parameters may be other objects."""
        ...

    def unshared(self, module: nn.Module) -> AbstractContextManager[None]:
        """While open, gradients of a shared module add up here alone."""
        ...

    def gather(self, own_b: torch.Tensor, sizes_W: Sequence[int]) -> torch.Tensor:
        """The rows of all workers in the order of their ranks."""
        ...

    def measured(self, module: nn.Module, measure: Callable[[], MetricValues]) -> MetricValues:
        """What `measure` gives on the worker of rank 0, on every worker; it may call parts of the shared module."""
        ...


class SingleProcess:
    """One process: nothing to share."""

    rank = 0
    size = 1

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)

    def share(self, module: nn.Module) -> nn.Module:
        """The module itself."""
        return module.to(self.device)

    def unshared(self, module: nn.Module) -> AbstractContextManager[None]:
        """Nothing to hold back."""
        return nullcontext()

    def gather(self, own_b: torch.Tensor, sizes_W: Sequence[int]) -> torch.Tensor:
        """The rows themselves."""
        return own_b

    def measured(self, module: nn.Module, measure: Callable[[], MetricValues]) -> MetricValues:
        """What it gives."""
        return measure()


class DataParallel:
    """The workers of an initialised process group, as `DistributedDataParallel` knows them."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size, self.device = dist.get_rank(), dist.get_world_size(), device

    def share(self, module: nn.Module) -> nn.Module:
        """`DistributedDataParallel` around a module whose forward gives the loss of the whole batch.

        Parameters that the loss does not reach (a pooler that nobody reads) are found at each step. Buffers are not exchanged: those of
        rank 0 are kept in the end, as they would be if it sent them around.
        """
        return DistributedDataParallel(module.to(self.device), find_unused_parameters=True, broadcast_buffers=False)

    def unshared(self, module: nn.Module) -> AbstractContextManager[None]:
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

    def measured(self, module: nn.Module, measure: Callable[[], MetricValues]) -> MetricValues:
        """What rank 0 measured; the others wait for it."""
        told = [measure() if self.rank == 0 else {}]
        dist.broadcast_object_list(told, src=0, device=self.device)
        return told[0]


class FullySharded(DataParallel):
    """The workers of an initialised process group, each with a part of the parameters, of the gradients and of the optimiser's state."""

    def share(self, module: nn.Module) -> nn.Module:
        """The module itself, cut into parts.

        Raises:
            ConfigError: it cannot be cut.
        """
        return shard(module, self.device)

    def unshared(self, module: nn.Module) -> AbstractContextManager[None]:
        """Nothing is held back: gradients add up in parts, so that nobody holds them whole."""
        return nullcontext()

    def measured(self, module: nn.Module, measure: Callable[[], MetricValues]) -> MetricValues:
        """What rank 0 measured; the others measure the same, since none can compute without their parts."""
        with whole_outside_layers(module):
            found = measure()
        return super().measured(module, lambda: found)


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
