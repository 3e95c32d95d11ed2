"""Steps run one after another, each with its own deadline; a late step is abandoned and the request continues."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from intarsia.errors import DataError, ReleaseMismatch
from serve_apps.http.errors import ApiError
from serve_apps.service.deadlines import Step, StepThreads, StepUnavailable, ThreadsBusy, run_steps, step

PATIENT_MS = 60_000
CHECK_MS = 5

Results = tuple[str, ...]
Call = Callable[[], Any]


async def all_of(*steps: Step[Any]) -> Results:
    """A request: the result of each step, or the message of the step that is not available."""
    results: list[str] = []
    for one_step in steps:
        try:
            results.append(str(await one_step))
        except StepUnavailable as error:
            results.append(str(error))
    return tuple(results)


def a_step(name: str, call: Call, *, budget_ms: int = PATIENT_MS) -> Step[Any]:
    return step(name, budget_ms, call)


def run_request(request: Coroutine[Any, Any, Any], took_ms: dict[str, float] | None = None) -> Any:
    with ThreadPoolExecutor(2) as pool:
        threads = StepThreads(pool, PATIENT_MS, CHECK_MS)
        return asyncio.run(run_steps(request, threads, {} if took_ms is None else took_ms))


def run(*steps: Step[Any], took_ms: dict[str, float] | None = None) -> Results:
    results: Results = run_request(all_of(*steps), took_ms)
    return results


def fails() -> str:
    raise OSError("disk")


def thread_name() -> str:
    return threading.current_thread().name


def end(goes_on: threading.Event) -> str:
    goes_on.set()
    return "end"


def add(a: int, b: int) -> int:
    return a + b


async def remote() -> str:
    return "remote"


async def remote_thread_name() -> str:
    return thread_name()


async def never() -> str:
    await asyncio.Event().wait()
    return "never"


def test_local_and_remote_steps_run_in_order_and_are_timed() -> None:
    took_ms: dict[str, float] = {}
    steps = (a_step("a", lambda: "a"), a_step("b", remote), a_step("c", lambda: "c"))
    assert run(*steps, took_ms=took_ms) == ("a", "remote", "c")
    assert list(took_ms) == ["a", "b", "c"]
    assert all(ms >= 0 for ms in took_ms.values())


def test_consecutive_functions_share_a_thread_that_is_not_the_loop_s() -> None:
    first, second, on_loop, third = run(
        a_step("a", thread_name), a_step("b", thread_name), a_step("c", remote_thread_name), a_step("d", thread_name)
    )
    assert first == second != threading.current_thread().name
    assert on_loop == threading.current_thread().name != third


@pytest.mark.parametrize("budgets_ms", [(PATIENT_MS, 5), (PATIENT_MS, 20, PATIENT_MS), (5, PATIENT_MS)])
def test_a_late_step_is_abandoned_whatever_budgets_surround_it(budgets_ms: tuple[int, ...]) -> None:
    goes_on = threading.Event()
    late_at = min(range(len(budgets_ms)), key=lambda i: budgets_ms[i])
    took_ms: dict[str, float] = {}

    def late() -> str:
        assert goes_on.wait(60)
        return "too late"

    steps = [a_step(f"s{i}", late if i == late_at else lambda: "done", budget_ms=ms) for i, ms in enumerate(budgets_ms)]
    steps.append(a_step("end", partial(end, goes_on)))  # the late step is held until the others are done
    expected = ["done"] * len(budgets_ms)
    expected[late_at] = f"s{late_at}: deadline {budgets_ms[late_at]} ms"
    assert run(*steps, took_ms=took_ms) == (*expected, "end")
    assert took_ms[f"s{late_at}"] == budgets_ms[late_at]


def test_the_fallback_of_a_late_last_step_needs_no_free_thread() -> None:
    goes_on = threading.Event()

    async def with_one_thread() -> Results:
        with ThreadPoolExecutor(1) as pool:
            try:
                late = a_step("s", partial(goes_on.wait, 60), budget_ms=5)
                return await run_steps(all_of(late), StepThreads(pool, 5, CHECK_MS), {})
            finally:
                goes_on.set()

    assert asyncio.run(with_one_thread()) == ("s: deadline 5 ms",)


def test_an_error_of_an_abandoned_step_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    goes_on = threading.Event()

    def late() -> str:
        assert goes_on.wait(60)
        raise OSError("disk")

    assert run(a_step("s", late, budget_ms=5), a_step("end", partial(end, goes_on)))[-1] == "end"
    assert "never retrieved" not in caplog.text


def test_a_late_remote_step_is_replaced() -> None:
    steps = (a_step("far", never, budget_ms=5), a_step("near", lambda: "near"))
    assert run(*steps) == ("far: deadline 5 ms", "near")


@pytest.mark.parametrize("call", [lambda: "here", remote])
def test_a_step_without_a_budget_is_not_called(call: Call) -> None:
    steps = (a_step("first", lambda: "first"), a_step("s", call, budget_ms=0), a_step("end", lambda: "end"))
    assert run(*steps) == ("first", "s: deadline 0 ms", "end")
    assert run(*steps[1:]) == ("s: deadline 0 ms", "end")


async def remote_failure() -> str:
    raise OSError("network")


@pytest.mark.parametrize("call", [fails, remote_failure])
def test_a_step_that_fails_is_replaced_and_logged(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    assert run(a_step("s", call), a_step("end", lambda: "end")) == ("s: failed", "end")
    assert "step=s error=OSError" in caplog.text


def test_a_step_without_a_fallback_ends_the_request() -> None:
    async def request(needed: Step[Any]) -> Any:
        return await needed

    with pytest.raises(StepUnavailable, match=r"^s: failed$"):
        run_request(request(a_step("s", fails)))
    with pytest.raises(StepUnavailable, match=r"^s: deadline 0 ms$"):
        run_request(request(a_step("s", remote, budget_ms=0)))


@pytest.mark.parametrize("is_remote", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        ApiError(422, "image: not an image", field="image"),
        ReleaseMismatch("release r-1 is not open here"),
        DataError(table="query", field="facets", found="shape", allowed="brand", fix="correct the request"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_the_request_reaches_the_caller(error: Exception, is_remote: bool) -> None:
    def refuses() -> str:
        raise error

    async def remote_refuses() -> str:
        raise error

    with pytest.raises(type(error)) as raised:
        run(a_step("s", remote_refuses if is_remote else refuses))
    assert raised.value is error


def test_waiting_for_a_thread_is_bounded_and_counts_for_no_step() -> None:
    async def with_a_busy_thread(wait_ms: int) -> Results:
        with ThreadPoolExecutor(1) as pool:
            busy = asyncio.get_running_loop().run_in_executor(pool, goes_on.wait, 60)
            try:
                threads = StepThreads(pool, wait_ms, CHECK_MS)
                waiting = asyncio.ensure_future(
                    run_steps(all_of(a_step("s", lambda: "done", budget_ms=20)), threads, {})
                )
                await asyncio.wait((waiting,), timeout=0.1)  # far longer than the step may take
                goes_on.set()
                return await waiting
            finally:
                goes_on.set()
                await busy

    goes_on = threading.Event()
    assert asyncio.run(with_a_busy_thread(PATIENT_MS)) == ("done",)
    goes_on = threading.Event()
    with pytest.raises(ThreadsBusy, match=r"^busy: no free thread in 5 ms$"):
        asyncio.run(with_a_busy_thread(5))


def test_a_cancelled_request_stops_after_its_current_step() -> None:
    goes_on, started = threading.Event(), threading.Event()
    later_steps: list[str] = []

    def current() -> str:
        started.set()
        assert goes_on.wait(60)
        return "done"

    async def cancel() -> None:
        with ThreadPoolExecutor(1) as pool:
            threads = StepThreads(pool, PATIENT_MS, CHECK_MS)
            steps = (a_step("s", current), a_step("later", partial(later_steps.append, "later")))
            request = asyncio.ensure_future(run_steps(all_of(*steps), threads, {}))
            await asyncio.to_thread(started.wait, 60)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request
            goes_on.set()

    asyncio.run(cancel())
    assert later_steps == []


def test_many_requests_at_once_keep_their_own_results() -> None:
    async def run_all() -> list[Results]:
        with ThreadPoolExecutor(3) as pool:
            threads = StepThreads(pool, PATIENT_MS, CHECK_MS)
            requests = (
                run_steps(all_of(a_step("a", partial(add, n, 0)), a_step("b", partial(add, n, 1))), threads, {})
                for n in range(200)
            )
            return list(await asyncio.gather(*requests))

    assert asyncio.run(run_all()) == [(str(n), str(n + 1)) for n in range(200)]


@pytest.mark.parametrize("call_of", [lambda value: lambda: value, lambda value: partial(returned_remotely, value)])
def test_a_step_may_return_an_exception_as_its_result(call_of: Callable[[Any], Call]) -> None:
    value = ValueError("a result")

    async def request() -> Any:
        return await a_step("s", call_of(value))

    assert run_request(request()) is value


async def returned_remotely(value: Any) -> Any:
    return value


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
def test_a_function_that_raises_no_exception_but_a_base_one_has_failed(error: BaseException) -> None:
    def exits() -> str:
        raise error

    assert run(a_step("s", exits), a_step("end", lambda: "end")) == ("s: failed", "end")


@pytest.mark.parametrize("error", [asyncio.CancelledError(), TimeoutError()])
def test_a_remote_step_that_ends_itself_has_failed(error: BaseException) -> None:
    async def cancelled_elsewhere() -> str:
        raise error

    assert run(a_step("s", cancelled_elsewhere), a_step("end", lambda: "end")) == ("s: failed", "end")


def test_a_cancelled_request_with_a_remote_step_is_cancelled() -> None:
    async def cancel() -> None:
        with ThreadPoolExecutor(1) as pool:
            threads = StepThreads(pool, PATIENT_MS, CHECK_MS)
            request = asyncio.ensure_future(run_steps(all_of(a_step("s", never)), threads, {}))
            await asyncio.sleep(0)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request

    asyncio.run(cancel())


@pytest.mark.parametrize("first_ms", [0, PATIENT_MS])
def test_a_request_that_awaits_anything_else_is_refused(first_ms: int) -> None:
    async def request() -> None:
        with suppress(StepUnavailable):
            await a_step("s", lambda: "s", budget_ms=first_ms)
        await asyncio.sleep(0)

    with pytest.raises(TypeError, match=r"^a request awaits NoneType; allowed: step\(\.\.\.\)"):
        run_request(request())


@pytest.mark.parametrize("seed", range(3))
def test_no_thread_is_lost_and_no_request_hangs(seed: int) -> None:
    """Requests of random steps, a third of them cancelled; afterwards every thread is free."""

    async def slow(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "remote"

    async def run_some(rng: random.Random) -> None:
        with ThreadPoolExecutor(3) as pool:
            threads = StepThreads(pool, rng.choice((1, 20, PATIENT_MS)), CHECK_MS)
            requests = []
            for _ in range(60):
                steps = []
                for _ in range(rng.randint(0, 5)):
                    calls = (partial(time.sleep, rng.choice((0, 0.01))), partial(slow, rng.choice((0, 0.01))), fails)
                    steps.append(a_step("s", rng.choice(calls), budget_ms=rng.choice((0, 1, 5, PATIENT_MS))))
                requests.append(asyncio.ensure_future(run_steps(all_of(*steps), threads, {})))
                if rng.random() < 1 / 3:
                    asyncio.get_running_loop().call_later(rng.random() * 0.03, requests[-1].cancel)
            results = await asyncio.wait_for(asyncio.gather(*requests, return_exceptions=True), 60)
            assert all(isinstance(result, tuple | ThreadsBusy | asyncio.CancelledError) for result in results)
            all_free = threading.Barrier(4)
            for _ in range(3):
                pool.submit(all_free.wait, 60)
            await asyncio.to_thread(all_free.wait, 60)

    asyncio.run(run_some(random.Random(seed)))
