"""Pieces of a table through Ray Data's actors: the one way in which jobs spread work that is cut into pieces."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
from ray.data import ActorPoolStrategy

from intarsia.errors import IntarsiaError

PieceT = TypeVar("PieceT")
ResultT = TypeVar("ResultT")

_PIECE, _RESULT = "piece", "result"


class _Actor:
    """Holds one opened worker; pieces and results travel pickled, one per row."""

    def __init__(self, open_worker: Callable[[], Callable[[Any], Any]]) -> None:
        self._work = open_worker()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {_RESULT: [pickle.dumps(self._outcome(pickle.loads(piece))) for piece in batch[_PIECE]]}

    def _outcome(self, piece: Any) -> Any:
        try:
            return self._work(piece)
        except IntarsiaError as error:  # travels as a value: Ray would wrap it, and lose what it was
            return _Refusal(error)


@dataclass(frozen=True, slots=True)
class _Refusal:
    error: IntarsiaError


@dataclass(frozen=True, slots=True, kw_only=True)
class RayWorkers:
    """Runs a function over pieces on an actor pool; results come as they are ready, in any order.

    Attributes:
        num_workers: actors, one CPU each; 0 means as many as the cluster has CPUs. Never more than there are pieces.
        min_pieces: with fewer the work is done in this process: starting actors (some seconds) would cost more than they save.
    """

    num_workers: int = 0
    min_pieces: int = 2

    def __call__(
        self, open_worker: Callable[[], Callable[[PieceT], ResultT]], pieces: Sequence[PieceT]
    ) -> Iterator[ResultT]:
        """Open a worker in each actor, give it pieces one at a time, and yield what it returns.

        Raises:
            IntarsiaError: the one that a worker raised.
        """
        if len(pieces) < self.min_pieces:
            yield from map(open_worker(), pieces)
            return
        wanted = self.num_workers or int(ray.cluster_resources().get("CPU", 1))
        dataset = ray.data.from_items(
            [{_PIECE: pickle.dumps(piece)} for piece in pieces], override_num_blocks=len(pieces)
        ).map_batches(
            _Actor,
            fn_constructor_args=(open_worker,),
            batch_size=1,
            num_cpus=1,
            compute=ActorPoolStrategy(size=max(1, min(wanted, len(pieces)))),
        )
        for row in dataset.iter_rows():
            outcome = pickle.loads(row[_RESULT])
            if isinstance(outcome, _Refusal):
                raise outcome.error
            yield outcome
