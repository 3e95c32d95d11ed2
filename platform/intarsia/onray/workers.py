"""Pieces of work through Ray Data's actors, each of which opens something once. What a piece means is its caller's matter.

A piece is small (a place to read from, or a few texts) and is worked on alone: its result does not depend on how many actors
there are, or on which other pieces lie beside it.
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

PieceT = TypeVar("PieceT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class RayWorkers:
    """Runs a function over pieces on an actor pool; results come as they are ready, in any order: who needs one numbers the pieces.

    Attributes:
        num_workers: actors, one CPU each; 0 means as many as the cluster has CPUs. Never more than there are pieces.
        min_pieces: with fewer the work is done in this process: starting actors (some seconds) would cost more than they save.
        gpus_per_worker: what each actor is given beside its CPU; a part of one lets several share it.
    """

    num_workers: int = 0
    min_pieces: int = 2
    gpus_per_worker: float = 0.0

    def __call__(
        self, open_worker: Callable[[], Callable[[PieceT], ResultT]], pieces: Sequence[PieceT]
    ) -> Iterator[ResultT]:
        """`open_worker()(piece)` for every piece; memory holds a few pieces' results at a time.

        Args:
            open_worker: runs once in each actor; it and what it captures are sent there, so let it capture settings, never models.
            pieces: picklable, small.

        Raises:
            IntarsiaError: the one that a worker raised, while it opened or at a piece. Other errors come as Ray's own, with their
                traceback.
            ConfigError: GPUs are asked of a Ray that has none and was started by this process alone. A cluster may still grow.
        """
        if not pieces:
            return
        if len(pieces) < self.min_pieces:
            yield from map(open_worker(), pieces)
            return
        if self.gpus_per_worker > ray.cluster_resources().get("GPU", 0.0) and owns_ray():
            raise ConfigError(
                f"gpus_per_worker is {self.gpus_per_worker}, and this machine has no GPU that Ray knows; set it to 0"
            )
        wanted = self.num_workers or int(ray.cluster_resources().get("CPU", 1))
        packed = ray.data.from_arrow([pa.table({"piece": [pickle.dumps(piece)]}) for piece in pieces])
        results = packed.map_batches(
            _Actor,
            fn_constructor_args=(open_worker,),
            batch_format="pyarrow",
            batch_size=1,  # a piece; Ray wants the number where GPUs are asked for
            compute=ray.data.ActorPoolStrategy(size=max(1, min(wanted, len(pieces)))),
            num_cpus=1,
            num_gpus=self.gpus_per_worker or None,
        )
        for batch in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
            for content in batch["result"].to_pylist():
                outcome = pickle.loads(content)
                if isinstance(outcome, _Refusal):
                    raise outcome.error
                yield outcome


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An error meant for the user, on its way out of an actor as a value: Ray would wrap it, and lose what it was."""

    error: IntarsiaError


class _Actor:
    """Opens its worker at the first piece, not when it is built: what fails then fails as the piece's result, not as a dead actor."""

    def __init__(self, open_worker: Callable[[], Callable[[Any], Any]]) -> None:
        self._open_worker = open_worker
        self._work: Callable[[Any], Any] | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        done = [pickle.dumps(self._outcome(pickle.loads(piece))) for piece in batch["piece"].to_pylist()]
        return pa.table({"result": pa.array(done, pa.large_binary())})

    def _outcome(self, piece: Any) -> Any:
        try:
            self._work = self._work or self._open_worker()
            return self._work(piece)
        except IntarsiaError as error:
            return _Refusal(error)
