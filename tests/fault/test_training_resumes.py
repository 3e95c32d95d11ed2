"""Workers of a torch fit that are really killed: the fit goes on from its last checkpoint and ends where it would have ended."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from ray.train import TrainingFailedError

from intarsia.errors import ArtifactError
from intarsia.onray.torch_training import TorchWorkersConfig, train_on_workers
from intarsia.training.loop import FitConfig, FitResult, fit_in_process
from tests.word_matching import DiesOnce, WordMatching

CONFIG = FitConfig(epochs=3, batch_size=5, accumulate=2, learning_rate=0.05, checkpoint_every=3)
NUM_STEPS = 3 * 4  # 37 examples are 8 batches of at most 5, two to a step


def assert_undisturbed(fitted: FitResult) -> None:
    undisturbed = fit_in_process(WordMatching(), CONFIG)
    assert [point.step for point in fitted.curve] == list(range(1, NUM_STEPS + 1))
    assert [p.loss for p in fitted.curve] == pytest.approx([p.loss for p in undisturbed.curve], rel=1e-4)
    for name, tensor in undisturbed.state.items():
        torch.testing.assert_close(fitted.state[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_killed_worker_costs_no_step_and_changes_no_loss(cluster: None, tmp_path: Path) -> None:
    marker = tmp_path / "was killed"
    workers = TorchWorkersConfig(num_workers=2, max_failures=1)
    fitted = train_on_workers(
        partial(DiesOnce, 7, marker), CONFIG, workers, tmp_path / "storage", logs=tmp_path / "logs"
    )
    assert marker.exists()
    assert fitted.num_resumed == 1
    assert fitted.num_steps == NUM_STEPS
    assert_undisturbed(fitted)


def test_a_sharded_fit_that_was_given_up_goes_on_under_its_name_in_one_worker(cluster: None, tmp_path: Path) -> None:
    marker, storage = tmp_path / "was killed", tmp_path / "storage"
    workers = TorchWorkersConfig(num_workers=2, shard=True, max_failures=0)
    make = partial(DiesOnce, 7, marker)
    torn = storage / ".fit-pairs" / "fit" / "checkpoint_manager_snapshot.json"
    torn.parent.mkdir(parents=True)
    torn.write_text('{"ray_ver', encoding="utf-8")  # as a kill leaves it: nothing to go on from, and no hindrance
    with pytest.raises(TrainingFailedError):
        train_on_workers(make, CONFIG, workers, storage, resume_as="pairs")
    assert [path.name for path in storage.iterdir()] == [".fit-pairs"]
    workers = TorchWorkersConfig(num_workers=1, shard=True, max_failures=0)
    fitted = train_on_workers(make, CONFIG, workers, storage, resume_as="pairs")
    assert_undisturbed(fitted)
    assert (fitted.num_steps, fitted.num_resumed) == (NUM_STEPS, 1)
    storage = storage.rename(tmp_path / "moved")
    again = train_on_workers(make, CONFIG, workers, storage, resume_as="pairs")
    assert (again.curve, again.num_resumed) == (fitted.curve, 1), "it had ended: no worker took it up"
    with pytest.raises(ArtifactError, match="the checkpoint is of a fit with other settings"):
        train_on_workers(make, replace(CONFIG, seed=1), workers, storage, resume_as="pairs")
