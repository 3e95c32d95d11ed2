"""Checkpoints: what is stored, and that a resumed fit equals an uninterrupted one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from intarsia.errors import ArtifactError
from intarsia.training.checkpoint import load_trained, read_checkpoint, trained_state
from intarsia.training.loop import FitConfig, fit_in_process
from tests.mean_of_line import Line, MeanOfLine
from tests.word_matching import WordMatching

QUICK = FitConfig(epochs=2, batch_size=10, learning_rate=0.05)


def test_a_resumed_fit_equals_an_uninterrupted_one_bit_by_bit(tmp_path: Path) -> None:
    config = FitConfig(
        epochs=4, batch_size=8, learning_rate=0.05, checkpoint_every=3, watch="accuracy", fgm_epsilon=0.1
    )
    undisturbed = fit_in_process(WordMatching(dropout=0.3), config)

    def stop_at_8(done: int, total: int, eta_s: float) -> None:
        assert total == 20 and eta_s > 0.0
        if done == 8:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit_in_process(WordMatching(dropout=0.3), config, checkpoints=tmp_path, on_step=stop_at_8)
    task = WordMatching(dropout=0.3)
    resumed = fit_in_process(task, config, checkpoints=tmp_path)
    assert task.inputs_read[0][0] == 6  # steps 7 and 8 are done again
    assert (resumed.num_resumed, undisturbed.num_resumed) == (1, 0)
    assert resumed.curve == undisturbed.curve
    assert resumed.kept_step == undisturbed.kept_step
    for name, tensor in undisturbed.state.items():
        assert torch.equal(resumed.state[name], tensor)
    again = fit_in_process(WordMatching(dropout=0.3), config, checkpoints=tmp_path)
    assert (again.num_steps, again.num_resumed, again.curve) == (20, 2, undisturbed.curve)


def test_shared_weights_are_kept_once() -> None:
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    module[1].weight = module[0].weight
    assert trained_state(module).keys() == {"0.weight"}
    other = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    other[1].weight = other[0].weight
    load_trained(other, trained_state(module))
    assert torch.equal(other[1].weight, module[1].weight)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            {"w": torch.ones(1, 1), "v": torch.ones(1)},
            "contain v, which the module does not have; fit this architecture again",
        ),
        ({"w": torch.ones(2, 1)}, r"w has shape \(2, 1\), the module's has \(1, 1\)"),
        ({}, "fitted parameters lack w"),
    ],
)
def test_parameters_of_another_architecture_are_refused(state: dict[str, torch.Tensor], words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        load_trained(Line(), state)


def test_a_checkpoint_of_another_fit_is_refused(tmp_path: Path) -> None:
    fit_in_process(MeanOfLine(), QUICK, checkpoints=tmp_path)
    for task, config in ((MeanOfLine(5), QUICK), (MeanOfLine(), replace(QUICK, learning_rate=0.06))):
        with pytest.raises(
            ArtifactError, match="of a fit with other settings or another number of examples; remove it"
        ):
            fit_in_process(task, config, checkpoints=tmp_path)


def test_a_damaged_checkpoint_is_refused_with_its_path(tmp_path: Path) -> None:
    fit_in_process(MeanOfLine(), QUICK, checkpoints=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(
        ArtifactError, match=rf"checkpoint {tmp_path} cannot be read .*; remove it and start the fit again"
    ):
        read_checkpoint(tmp_path)
