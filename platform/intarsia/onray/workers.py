"""Applies a function to work items in Ray Data actors. Each actor opens the function once, for example an encoder.

An item is small: a location to read from, or some texts. Its result does not depend on the number of actors or on the
other items.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import ray.data

from intarsia.errors import ConfigError, IntarsiaError
from intarsia.onray.session import owns_ray

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class RayWorkers:
    """A pool of actors. Results are yielded in any order, as they are ready; number the items to sort the results.

    Attributes:
        num_workers: number of actors, one CPU each, at most one per item; 0 means the number of CPUs of the cluster.
        min_items: fewer items are processed in this process, because starting actors takes some seconds.
        gpus_per_worker: GPUs per actor; with a fraction, several actors share a GPU.

    >>> sorted(RayWorkers(min_items=4)(lambda: abs, [-1, 2, -3]))
    [1, 2, 3]
    """

    num_workers: int = 0
    min_items: int = 2
    gpus_per_worker: float = 0.0

    def __call__(
        self, open_worker: Callable[[], Callable[[ItemT], ResultT]], items: Sequence[ItemT]
    ) -> Iterator[ResultT]:
        """Yield `open_worker()(item)` for every item; memory holds the results of a few items at a time.

        Args:
            open_worker: called once in each actor. It is pickled with what it captures: capture settings, never models.
            items: picklable and small.

        Raises:
            IntarsiaError: as raised in the worker, by `open_worker` or for an item. Other errors are wrapped by Ray,
                with their traceback.
            ConfigError: GPUs are required, and the Ray that this process started has none. An existing cluster may
                still grow.
        """
        if not items:
            return
        if len(items) < self.min_items:
            yield from map(open_worker(), items)
            return
        if self.gpus_per_worker > ray.cluster_resources().get("GPU", 0.0) and owns_ray():
            raise ConfigError(
                f"gpus_per_worker is {self.gpus_per_worker}, and this machine has no GPU that Ray knows; set it to 0"
            )
        num_workers = self.num_workers or int(ray.cluster_resources().get("CPU", 1))
        pickled = ray.data.from_arrow([pa.table({"item": [pickle.dumps(item)]}) for item in items])
        results = pickled.map_batches(
            _Actor,
            fn_constructor_args=(open_worker,),
            batch_format="pyarrow",
            batch_size=1,  # Ray requires a batch size if actors use GPUs
            compute=ray.data.ActorPoolStrategy(size=max(1, min(num_workers, len(items)))),
            num_cpus=1,
            num_gpus=self.gpus_per_worker or None,
        )
        for batch in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
            for content in batch["result"].to_pylist():
                result = pickle.loads(content)
                if isinstance(result, _RaisedError):
                    raise result.error
                yield result


@dataclass(frozen=True, slots=True)
class _RaisedError:
    """An error raised in an actor, returned as a value: Ray would wrap a raised one and lose its type."""

    error: IntarsiaError


class _Actor:
    """Opens its worker at the first item, so that an error while opening is returned like an error of the item."""

    def __init__(self, open_worker: Callable[[], Callable[[Any], Any]]) -> None:
        self._open_worker = open_worker
        self._work: Callable[[Any], Any] | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        results = [pickle.dumps(self._process(pickle.loads(item))) for item in batch["item"].to_pylist()]
        return pa.table({"result": pa.array(results, pa.large_binary())})

    def _process(self, item: Any) -> Any:
        try:
            self._work = self._work or self._open_worker()
            return self._work(item)
        except IntarsiaError as error:
            return _RaisedError(error)
