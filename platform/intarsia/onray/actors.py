"""Units of work through a pool of actors that each open something heavy once. What a unit means is its caller's matter.

A unit is small (a place to read from, or a few texts) and is worked on alone: its result does not depend on how many actors
there are, or on which other units lie beside it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import pyarrow as pa
import ray.data

from intarsia.errors import IntarsiaError

Unit = TypeVar("Unit")
Result = TypeVar("Result")


def in_actors(
    units: Sequence[Unit],
    open_work: Callable[[], Callable[[Unit], Result]],
    *,
    num_actors: int,
    cpus_per_actor: float = 1.0,
) -> Iterator[Result]:
    """`open_work()(unit)` for every unit, in any order; memory holds a few units' results at a time.

    Args:
        units: picklable, small.
        open_work: runs once in each actor; it and what it captures are sent to the actors, so let it capture settings, never models.
        num_actors: at most; no more are started than there are units.
        cpus_per_actor: Ray's reservation; the work itself decides how many threads it runs.

    Raises:
        IntarsiaError: of the type and with the words that the work raised. Other errors come as Ray's own, with their traceback.
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
    for batch in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
        for content in batch["result"].to_pylist():
            result = pickle.loads(content)
            if isinstance(result, _Refusal):
                raise result.kind.__new__(result.kind, result.words)
            yield result


class _Refusal:
    """An error meant for the user, on its way out of an actor: Ray would keep its traceback and lose its type."""

    def __init__(self, error: IntarsiaError) -> None:
        self.kind = type(error)
        self.words = str(error)


class _Worker(Generic[Unit, Result]):
    """Opens its work at the first unit, not when it is built: what fails then fails as the unit's result, not as a dead actor."""

    def __init__(self, open_work: Callable[[], Callable[[Unit], Result]]) -> None:
        self._open_work = open_work
        self._work: Callable[[Unit], Result] | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        done = [pickle.dumps(self._one(pickle.loads(unit))) for unit in batch["unit"].to_pylist()]
        return pa.table({"result": pa.array(done, pa.large_binary())})

    def _one(self, unit: Unit) -> Result | _Refusal:
        try:
            self._work = self._work or self._open_work()
            return self._work(unit)
        except IntarsiaError as error:
            return _Refusal(error)
