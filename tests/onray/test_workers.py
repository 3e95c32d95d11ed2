"""RayWorkers: work items on Ray Data actors."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from intarsia.errors import ArtifactError, DataError
from intarsia.onray.workers import RayWorkers

ROOT = Path(__file__).resolve().parents[2]


def _squares() -> Callable[[int], int]:
    return lambda number: number * number


def _process() -> Callable[[int], int]:
    return lambda _: os.getpid()


def _refusing() -> Callable[[int], int]:
    def work(number: int) -> int:
        if number == 3:
            raise DataError(table="t", row=3, field="f", found=number, allowed="less", fix="take it out")
        return number

    return work


def _closed() -> Callable[[int], int]:
    raise ArtifactError("weights are missing; put them there")


def _failing() -> Callable[[int], int]:
    return lambda number: number // 0


@pytest.mark.usefixtures("cluster")
def test_every_item_is_processed_once() -> None:
    assert sorted(RayWorkers(num_workers=2)(_squares, list(range(7)))) == [n * n for n in range(7)]


@pytest.mark.usefixtures("cluster")
def test_an_intarsia_error_of_a_worker_keeps_its_type() -> None:
    with pytest.raises(DataError, match=r"t row 3: f is 3; allowed: less. Fix: take it out") as refused:
        list(RayWorkers(num_workers=1)(_refusing, list(range(5))))
    assert (refused.value.field, refused.value.row, refused.value.found) == ("f", 3, 3)


@pytest.mark.usefixtures("cluster")
def test_an_intarsia_error_while_a_worker_opens_keeps_its_type() -> None:
    with pytest.raises(ArtifactError, match="weights are missing; put them there"):
        list(RayWorkers(num_workers=1)(_closed, [1, 2]))


@pytest.mark.usefixtures("cluster")
def test_with_min_items_1_a_single_item_goes_to_an_actor() -> None:
    assert list(RayWorkers(min_items=1)(_process, [0])) != [os.getpid()]


@pytest.mark.usefixtures("cluster")
def test_other_errors_show_their_cause() -> None:
    with pytest.raises(Exception, match="ZeroDivisionError"):
        list(RayWorkers(num_workers=1)(_failing, [1, 2]))


def test_few_items_are_processed_in_this_process_in_order() -> None:
    assert list(RayWorkers(min_items=4)(_squares, [3, 1, 2])) == [9, 1, 4]
    assert list(RayWorkers()(_squares, [])) == []


ON_ONE_GPU = """
import os
import ray
from intarsia.onray.workers import RayWorkers

def opened():
    return lambda number: (number, os.environ["CUDA_VISIBLE_DEVICES"])

if __name__ == "__main__":
    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False)
    print(sorted(RayWorkers(num_workers=2, min_items=1, gpus_per_worker=1.0)(opened, [3, 1, 2])))
"""


def test_workers_wait_for_a_free_gpu_and_then_see_it(tmp_path: Path) -> None:
    script = tmp_path / "on_one_gpu.py"  # Ray assigns the GPU given to ray.init, even if the machine has none
    script.write_text(ON_ONE_GPU)
    path = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    completed = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "[(1, '0'), (2, '0'), (3, '0')]" in completed.stdout, completed.stderr
