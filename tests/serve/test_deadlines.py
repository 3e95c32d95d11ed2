"""Steps one after another, each with its own deadline: what is late is left behind, what comes after it goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from serve_apps.http.errors import ApiError
from serve_apps.service.deadlines import Step, StepUnavailable, Threads, run_steps

Said = tuple[str, ...]
PATIENT_MS = 60_000


def step(name: str, call: Callable[[], object], *, budget_ms: int = PATIENT_MS, is_needed: bool = False) -> Step[Said]:
    def instead(said: Said, why: str) -> Said:
        if is_needed:
            raise StepUnavailable(why)
        return (*said, why)

    return Step(
        name=name,
        budget_ms=budget_ms,
        call=call,
        asks=lambda said: (),
        takes=lambda said, found: (*said, str(found)),
        instead=instead,
    )


def run(*steps: Step[Said], took_ms: dict[str, float] | None = None) -> Said:
    with ThreadPoolExecutor(2) as pool:
        return asyncio.run(run_steps(steps, (), Threads(pool, PATIENT_MS), {} if took_ms is None else took_ms))


def fails() -> str:
    raise OSError("disk")


def thread_name() -> str:
    return threading.current_thread().name


def end(goes_on: threading.Event) -> str:
    goes_on.set()
    return "end"


def add(a: int, b: int) -> int:
    return a + b


async def elsewhere() -> str:
    return "from elsewhere"


async def never() -> str:
    await asyncio.Event().wait()
    return "never"


def test_steps_here_and_elsewhere_run_in_order_and_are_timed() -> None:
    took_ms: dict[str, float] = {}
    steps = (step("a", lambda: "a"), step("b", elsewhere), step("c", lambda: "c"))
    assert run(*steps, took_ms=took_ms) == ("a", "from elsewhere", "c")
    assert list(took_ms) == ["a", "b", "c"]
    assert all(ms >= 0 for ms in took_ms.values())


def test_steps_of_this_process_share_a_thread_that_is_not_the_loop_s() -> None:
    first, second = run(step("a", thread_name), step("b", thread_name))
    assert first == second != threading.current_thread().name


@pytest.mark.parametrize("budgets_ms", [(PATIENT_MS, 5), (PATIENT_MS, 20, PATIENT_MS), (5, PATIENT_MS)])
def test_a_late_step_is_left_behind_whatever_budgets_stand_around_it(budgets_ms: tuple[int, ...]) -> None:
    goes_on = threading.Event()
    at = min(range(len(budgets_ms)), key=lambda i: budgets_ms[i])

    def late() -> str:
        assert goes_on.wait(60)
        return "too late"

    steps = [step(f"s{i}", late if i == at else lambda: "done", budget_ms=ms) for i, ms in enumerate(budgets_ms)]
    steps.append(step("end", partial(end, goes_on)))  # the late step is held until the others are done
    expected = ["done"] * len(budgets_ms)
    expected[at] = f"s{at}: deadline {budgets_ms[at]} ms"
    assert run(*steps) == (*expected, "end")


def test_an_error_after_being_left_behind_is_nobody_s(caplog: pytest.LogCaptureFixture) -> None:
    goes_on = threading.Event()

    def late() -> str:
        assert goes_on.wait(60)
        raise OSError("disk")

    assert run(step("s", late, budget_ms=5), step("end", partial(end, goes_on)))[-1] == "end"
    assert "never retrieved" not in caplog.text


def test_a_late_step_elsewhere_has_its_stand_in() -> None:
    assert run(step("far", never, budget_ms=5), step("near", lambda: "near")) == ("far: deadline 5 ms", "near")


@pytest.mark.parametrize("call", [lambda: "here", elsewhere])
def test_without_a_budget_a_step_is_not_asked(call: Callable[[], object]) -> None:
    assert run(step("s", call, budget_ms=0), step("end", lambda: "end")) == ("s: deadline 0 ms", "end")


def test_a_step_that_fails_has_its_stand_in_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert run(step("s", fails), step("end", lambda: "end")) == ("s: failed", "end")
    assert "step=s error=OSError" in caplog.text


def test_nothing_stands_in_for_a_step_that_is_needed() -> None:
    with pytest.raises(StepUnavailable, match=r"^s: failed$"):
        run(step("s", fails, is_needed=True))
    with pytest.raises(StepUnavailable, match=r"^s: deadline 0 ms$"):
        run(step("s", elsewhere, budget_ms=0, is_needed=True))


def test_what_a_step_says_of_the_request_reaches_the_caller() -> None:
    def refuses() -> str:
        raise ApiError(422, "image: not a picture", field="image")

    with pytest.raises(ApiError, match="not a picture"):
        run(step("s", refuses))


def test_waiting_for_a_thread_is_bounded_and_counts_for_no_step() -> None:
    async def both(wait_ms: int) -> Said:
        with ThreadPoolExecutor(1) as pool:
            held = asyncio.get_running_loop().run_in_executor(pool, goes_on.wait, 60)
            try:
                steps = run_steps((step("s", lambda: "done", budget_ms=20),), (), Threads(pool, wait_ms), {})
                waiting = asyncio.ensure_future(steps)
                await asyncio.wait((waiting,), timeout=0.1)  # far longer than the step may take
                goes_on.set()
                return await waiting
            finally:
                goes_on.set()
                await held

    goes_on = threading.Event()
    assert asyncio.run(both(PATIENT_MS)) == ("done",)
    goes_on = threading.Event()
    with pytest.raises(StepUnavailable, match=r"^busy: no free thread in 5 ms$"):
        asyncio.run(both(5))


def test_many_requests_at_once_keep_their_own_results() -> None:
    async def all_of_them() -> list[Said]:
        with ThreadPoolExecutor(3) as pool:
            threads = Threads(pool, PATIENT_MS)
            several = (
                run_steps((step("a", partial(add, n, 0)), step("b", partial(add, n, 1))), (), threads, {})
                for n in range(200)
            )
            return list(await asyncio.gather(*several))

    assert asyncio.run(all_of_them()) == [(str(n), str(n + 1)) for n in range(200)]
