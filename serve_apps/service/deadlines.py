"""The steps of one request, each within its budget and with a stand-in for when it is late or fails.

A step computes in this process or awaits another one. Steps of this process that follow one another share one thread: handing a request
from the event loop to a thread and back costs 0.4 ms each time. The loop keeps their deadlines: when one is late its thread is left
behind, the stand-in takes the step's place, and the steps after it go on in another thread.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Generic, TypeVar

from intarsia.errors import DataError, ReleaseMismatch
from intarsia.logs import log_warning
from serve_apps.http.errors import ApiError

StateT = TypeVar("StateT")


class StepUnavailable(Exception):
    """A step was late or is down and nothing can stand in for it; the message is what is said of it."""


_WAITING = -1  # where a relay is before a thread takes it up

_FOR_THE_CALLER = (ReleaseMismatch, DataError, ApiError, StepUnavailable)
"""What a step tells of the request rather than of itself: no stand-in would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[StateT]):
    """One step from state to state; a state is never changed, so that a thread left behind does no harm.

    Attributes:
        name: what pages and logs call it.
        budget_ms: how long it may take; 0 does without it.
        call: what computes: a function (in a thread of this process) or a coroutine function (awaited).
        asks: its arguments, from the state so far.
        takes: the next state, from the state so far and the result.
        instead: the next state when it is late or failed, from the state so far and why; may raise StepLost.
    """

    name: str
    budget_ms: int
    call: Callable[..., Any]
    asks: Callable[[StateT], tuple[Any, ...]]
    takes: Callable[[StateT, Any], StateT]
    instead: Callable[[StateT, str], StateT]

    @property
    def is_remote(self) -> bool:
        """Whether it awaits another process."""
        return inspect.iscoroutinefunction(self.call)

    def do_without(self, state: StateT, why: str) -> StateT:
        """The stand-in's state."""
        return self.instead(state, f"{self.name}: {why}")

    def failed(self, state: StateT, error: Exception) -> StateT:
        """The stand-in's state after an error, which is logged."""
        log_warning("step_failed", step=self.name, error=type(error).__name__)
        return self.do_without(state, "failed")

    @property
    def deadline(self) -> str:
        """Why it is not waited for."""
        return f"deadline {self.budget_ms} ms"


@dataclass(frozen=True, slots=True)
class Threads:
    """The threads of a process that compute; a request waits at most `wait_ms` for a free one, which counts for none of its steps."""

    pool: Executor
    wait_ms: int


async def run_steps(
    steps: Sequence[Step[StateT]], state: StateT, threads: Threads, took_ms: dict[str, float]
) -> StateT:
    """The state after all steps; `took_ms` gets how long each took, by name.

    Raises:
        StepLost: a step that nothing stands in for, or all threads were busy too long.
        ReleaseMismatch, DataError, Refusal: as a step raised it.
    """
    for elsewhere, some in groupby(steps, key=lambda step: step.is_remote):
        if elsewhere:
            for step in some:
                state = await _awaited(step, state, took_ms)
        else:
            state = await _computed(list(some), state, threads, took_ms)
    return state


async def _awaited(step: Step[StateT], state: StateT, took_ms: dict[str, float]) -> StateT:
    if step.budget_ms == 0:
        return step.do_without(state, step.deadline)
    start_s = time.perf_counter()
    try:
        async with asyncio.timeout(step.budget_ms / 1_000):
            return step.takes(state, await step.call(*step.asks(state)))
    except TimeoutError:
        return step.do_without(state, step.deadline)
    except _FOR_THE_CALLER:
        raise
    except Exception as error:
        return step.failed(state, error)
    finally:
        took_ms[step.name] = (time.perf_counter() - start_s) * 1_000


async def _computed(
    steps: Sequence[Step[StateT]], state: StateT, threads: Threads, took_ms: dict[str, float]
) -> StateT:
    while steps:
        relay = _Relay(steps, state, threads.wait_ms)
        finished = asyncio.get_running_loop().run_in_executor(threads.pool, relay.run)
        while not (await asyncio.wait((finished,), timeout=relay.next_check_s()))[0] and not relay.abandon():
            pass  # no step is late yet
        took_ms |= relay.took_ms
        if not relay.is_abandoned:
            return finished.result()
        finished.add_done_callback(_forget)
        if relay.at == _WAITING:
            finished.cancel()
            raise StepUnavailable(f"busy: no free thread in {threads.wait_ms} ms")
        late, state = steps[relay.at], relay.state
        steps = steps[relay.at + 1 :]
        took_ms[late.name] = late.budget_ms
        state = late.do_without(state, late.deadline)
    return state


class _Relay(Generic[StateT]):
    """Steps that one thread does one after another, until they are done or it is left behind."""

    def __init__(self, steps: Sequence[Step[StateT]], state: StateT, wait_ms: int) -> None:
        self._budgets_s = {_WAITING: wait_ms / 1_000, **{at: step.budget_ms / 1_000 for at, step in enumerate(steps)}}
        self._steps = steps
        self._lock = threading.Lock()  # held to pass from one step to the next, and to be left behind in between
        self._since_s = time.perf_counter()
        self.at, self.state = _WAITING, state
        self.took_ms: dict[str, float] = {}
        self.is_abandoned = False

    def run(self) -> StateT:
        """In a thread: the state after the last step; of no meaning once the relay is left behind."""
        if self._pass(self.state):
            for step in self._steps:
                if not self._pass(_done(step, self.state)):
                    break
        return self.state

    def next_check_s(self) -> float:
        """No step can be late sooner than this."""
        with self._lock:
            later_s = [budget_s for at, budget_s in self._budgets_s.items() if at > self.at and budget_s]
            return max(0.0, min([self._left_s(), *later_s]))

    def abandon(self) -> bool:
        """Whether the step that runs now is late; then what the thread still finds does not count, and `at` is that step."""
        with self._lock:
            self.is_abandoned = self._left_s() <= 0
        return self.is_abandoned

    def _left_s(self) -> float:
        if self.at == len(self._steps):
            return 1.0  # all done; the loop hears of it any moment
        return self._since_s + self._budgets_s[self.at] - time.perf_counter()

    def _pass(self, state: StateT) -> bool:
        with self._lock:
            if self.is_abandoned:
                return False
            now_s = time.perf_counter()
            if self.at != _WAITING:
                self.took_ms[self._steps[self.at].name] = (now_s - self._since_s) * 1_000
            self.at, self.state, self._since_s = self.at + 1, state, now_s
        return True


def _done(step: Step[StateT], state: StateT) -> StateT:
    if step.budget_ms == 0:
        return step.do_without(state, step.deadline)
    try:
        return step.takes(state, step.call(*step.asks(state)))
    except _FOR_THE_CALLER:
        raise
    except Exception as error:
        return step.failed(state, error)


def _forget(abandoned: asyncio.Future[Any]) -> None:
    """Take note of a late error, so that nobody complains that it was never looked at."""
    if not abandoned.cancelled():
        abandoned.exception()
