"""Torch fits on Ray Train: the result does not depend on the number of workers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import ray.train
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from intarsia.errors import ConfigError, DataError
from intarsia.onray.torch_training import TorchWorkersConfig, train_on_workers
from intarsia.training.checkpoint import load_trained
from intarsia.training.loop import FitConfig, FitResult, fit_in_process
from tests.word_matching import RefusesItsRow, WordMatching

TWO = TorchWorkersConfig(num_workers=2, cpus_per_worker=1.0, max_failures=0)
CONFIG = FitConfig(epochs=3, batch_size=7, accumulate=2, learning_rate=0.05, fgm_epsilon=0.2, checkpoint_every=4)


class NotesItsWorkers(WordMatching):
    """Writes a file named after the number of workers."""

    def __init__(self, seen: Path) -> None:
        super().__init__()
        (seen / str(ray.train.get_context().get_world_size())).touch()


def assert_same_fit(one: FitResult, other: FitResult) -> None:
    assert [point.step for point in one.curve] == [point.step for point in other.curve]
    for record, other_record in zip(one.curve, other.curve, strict=True):
        assert record.loss == pytest.approx(other_record.loss, rel=1e-4)
        assert record.learning_rate == other_record.learning_rate
        assert record.figures == other_record.figures
    assert one.state.keys() == other.state.keys()
    for name, tensor in other.state.items():
        torch.testing.assert_close(one.state[name], tensor, rtol=1e-3, atol=1e-4)


def test_two_workers_give_the_curve_and_the_parameters_of_one(cluster: None, tmp_path: Path) -> None:
    progress_calls: list[tuple[int, int, float]] = []
    single = fit_in_process(WordMatching(), CONFIG)
    shared = train_on_workers(
        WordMatching,
        CONFIG,
        TWO,
        tmp_path,
        on_step=lambda *progress: progress_calls.append(progress),
        logs=tmp_path / "logs",
    )
    assert [point.step for point in shared.curve] == list(range(1, 10)) == [point.step for point in single.curve]
    assert shared.curve[-1].loss < 0.6 * shared.curve[0].loss
    assert_same_fit(shared, single)
    load_trained(WordMatching().module, shared.state)
    assert progress_calls[-1] == (9, 9, 0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
    written = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [event.step for event in written.Scalars("fit/loss")] == list(range(1, 10))
    assert [event.step for event in written.Scalars("measured/accuracy")] == [3, 6, 9]


def test_a_fit_with_fewer_workers_gives_the_same_result(cluster: None, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    workers = TorchWorkersConfig(num_workers=3, min_workers=1, cpus_per_worker=2.0, max_failures=0)
    single = fit_in_process(WordMatching(), CONFIG)
    shared = train_on_workers(partial(NotesItsWorkers, seen), CONFIG, workers, tmp_path / "storage")
    sizes = {int(path.name) for path in seen.iterdir()}
    assert len(sizes) == 1
    assert sizes <= {1, 2}  # this Ray has 4 CPUs
    assert (shared.num_steps, shared.num_resumed) == (9, 0)
    assert_same_fit(shared, single)


def test_an_elastic_fit_raises_the_workers_own_error(cluster: None, tmp_path: Path) -> None:
    workers = TorchWorkersConfig(
        num_workers=3, min_workers=1, cpus_per_worker=2.0, max_failures=1
    )  # this Ray has 4 CPUs
    with pytest.raises(DataError, match=r"pairs row 5: left is ''; allowed: a word. Fix: give it one"):
        train_on_workers(RefusesItsRow, FitConfig(epochs=1, batch_size=8), workers, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"num_workers": 9}, r"9 workers of 1 CPU need 9, this Ray has 4; lower num_workers or cpus_per_worker"),
        (
            {"gpus_per_worker": 0.5},
            r"1 workers of 0.5 GPU need 0.5, this Ray has 0; lower num_workers or gpus_per_worker",
        ),
    ],
)
def test_more_resources_than_ray_has_are_refused(
    cluster: None, tmp_path: Path, setting: dict[str, float], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        train_on_workers(partial(WordMatching, 8), FitConfig(), TorchWorkersConfig(**setting), tmp_path)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"num_workers": 0}, "num_workers is 0; allowed: 1 or more"),
        ({"num_workers": 2, "min_workers": 3}, "min_workers is 3; allowed: 0 to 2"),
        ({"cpus_per_worker": 0.0}, "cpus_per_worker is 0.0; allowed: above 0"),
        ({"max_failures": -1}, "max_failures is -1; allowed: 0 or more"),
    ],
)
def test_workers_out_of_range_are_refused_by_name(setting: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TorchWorkersConfig(**setting)
