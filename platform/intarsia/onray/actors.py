"""Units of work through a pool of actors that each open something heavy once. What a unit means is its caller's matter.

A unit is small (a place to read from, or a few texts) and is worked on alone: its result does not depend on how many actors
there are, or on which other units lie beside it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import pyarrow as pa
import ray.data

Unit = TypeVar("Unit")
Work = Callable[[Unit], pa.Table]


def in_actors(
    units: Sequence[Unit], open_work: Callable[[], Work[Unit]], *, num_actors: int, cpus_per_actor: float = 1.0
) -> Iterator[pa.Table]:
    """The results of `open_work()(unit)` for every unit, in any order; memory holds a few units' results at a time.

    Args:
        units: picklable, small.
        open_work: runs once in each actor; it and what it captures are sent to the actors, so let it capture settings, never models.
        num_actors: at most; no more are started than there are units.
        cpus_per_actor: Ray's reservation; each actor runs on one thread.

    Raises:
        IntarsiaError and others: what the work raised, as it was.
    """
    if not units:
        return
    packed = ray.data.from_arrow([pa.table({"unit": [pickle.dumps(unit)]}) for unit in units])
    results = packed.map_batches(
        _Worker,
        fn_constructor_args=(open_work,),
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=min(num_actors, len(units))),
        num_cpus=cpus_per_actor,
    )
    try:
        yield from results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1)
    except Exception as error:
        raise _first_cause(error) from error


class _Worker:
    def __init__(self, open_work: Callable[[], Work[Unit]]) -> None:
        self._work = open_work()

    def __call__(self, batch: pa.Table) -> pa.Table:
        return pa.concat_tables([self._work(pickle.loads(unit)) for unit in batch["unit"].to_pylist()])


def _first_cause(error: BaseException) -> BaseException:
    """What the work itself raised, out of the wrappers Ray Data puts around it."""
    cause: BaseException = error
    while isinstance(deeper := getattr(cause, "cause", None) or cause.__cause__, BaseException):
        cause = deeper
    return cause
