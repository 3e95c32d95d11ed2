"""A torch fit whose workers are killed continues from its last checkpoint, with the same result."""

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
NUM_STEPS = 3 * 4  # 37 examples are 8 batches of at most 5; a step accumulates two


def assert_equal_to_uninterrupted(fitted: FitResult) -> None:
    uninterrupted = fit_in_process(WordMatching(), CONFIG)
    assert [point.step for point in fitted.curve] == list(range(1, NUM_STEPS + 1))
    assert [p.loss for p in fitted.curve] == pytest.approx([p.loss for p in uninterrupted.curve], rel=1e-4)
    for name, tensor in uninterrupted.state.items():
        torch.testing.assert_close(fitted.state[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_killed_worker_changes_neither_steps_nor_losses(cluster: None, tmp_path: Path) -> None:
    marker = tmp_path / "was killed"
    workers = TorchWorkersConfig(num_workers=2, max_failures=1)
    fitted = train_on_workers(
        partial(DiesOnce, 7, marker), CONFIG, workers, tmp_path / "storage", logs=tmp_path / "logs"
    )
    assert marker.exists()
    assert fitted.num_resumed == 1
    assert fitted.num_steps == NUM_STEPS
    assert_equal_to_uninterrupted(fitted)


def test_a_failed_sharded_fit_is_resumed_by_name_with_one_worker(cluster: None, tmp_path: Path) -> None:
    marker, storage = tmp_path / "was killed", tmp_path / "storage"
    workers = TorchWorkersConfig(num_workers=2, shard=True, max_failures=0)
    make = partial(DiesOnce, 7, marker)
    truncated = storage / ".fit-pairs" / "fit" / "checkpoint_manager_snapshot.json"
    truncated.parent.mkdir(parents=True)
    truncated.write_text('{"ray_ver', encoding="utf-8")  # as a kill may leave it: it is ignored
    with pytest.raises(TrainingFailedError):
        train_on_workers(make, CONFIG, workers, storage, resume_as="pairs")
    assert [path.name for path in storage.iterdir()] == [".fit-pairs"]
    workers = TorchWorkersConfig(num_workers=1, shard=True, max_failures=0)
    fitted = train_on_workers(make, CONFIG, workers, storage, resume_as="pairs")
    assert_equal_to_uninterrupted(fitted)
    assert (fitted.num_steps, fitted.num_resumed) == (NUM_STEPS, 1)
    storage = storage.rename(tmp_path / "moved")
    resumed = train_on_workers(make, CONFIG, workers, storage, resume_as="pairs")
    assert (resumed.curve, resumed.num_resumed) == (fitted.curve, 1), "it had ended, so no worker was started"
    with pytest.raises(ArtifactError, match="the checkpoint is of a fit with other settings"):
        train_on_workers(make, replace(CONFIG, seed=1), workers, storage, resume_as="pairs")
