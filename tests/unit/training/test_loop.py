"""The training loop in one process: steps, metrics, stopping, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from intarsia.errors import ConfigError
from intarsia.training.checkpoint import FitProgress
from intarsia.training.loop import FitConfig, _GlobalLoss, fit_in_process, run_fit
from intarsia.training.process_group import SingleProcess
from intarsia.training.task import Rows, Tensors
from tests.mean_of_line import MeanOfLine
from tests.word_matching import WordMatching

QUICK = FitConfig(epochs=2, batch_size=10, learning_rate=0.05)


def test_a_step_takes_the_mean_gradient_of_its_batches() -> None:
    task = MeanOfLine()
    fitted = fit_in_process(task, FitConfig(epochs=1, batch_size=2, accumulate=2, max_grad_norm=0.0))
    assert task.gradients == [2.5]  # the mean of 1, 2, 3 and 4
    assert (fitted.num_steps, fitted.curve[0].loss) == (1, 2.5)
    assert task.was_training == [True, True]
    assert not task.module.training


def test_long_gradients_are_clipped() -> None:
    task = MeanOfLine()
    fit_in_process(task, FitConfig(epochs=1, batch_size=4, max_grad_norm=0.5))
    assert task.gradients == pytest.approx([0.5])


def test_frozen_parameters_are_not_stored_but_buffers_are() -> None:
    task = MeanOfLine()
    fitted = fit_in_process(task, QUICK)
    assert fitted.state.keys() == {"w", "mean"}
    assert float(fitted.state["w"]) < 1.0
    assert task.module.bias.item() == 0.0


def test_weights_decay_and_biases_do_not() -> None:
    class Still(MeanOfLine):
        def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
            return 0.0 * (outputs["y"].sum() + self.module.bias.sum())

    task = Still()
    task.module.bias = nn.Parameter(torch.ones(1))
    fit_in_process(
        task, FitConfig(epochs=1, learning_rate=0.1, weight_decay=0.5, warmup_share=0.0, schedule="constant")
    )
    assert task.module.w.item() == pytest.approx(1.0 - 0.1 * 0.5)
    assert task.module.bias.item() == 1.0


def test_a_fit_does_not_change_the_global_random_state() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    fit_in_process(MeanOfLine(), QUICK)
    assert torch.equal(torch.rand(3), expected)


def test_the_best_epoch_is_kept_and_patience_ends_the_fit() -> None:
    task = MeanOfLine(figures=(0.1, 0.5, 0.4, 0.5, 0.9))
    fitted = fit_in_process(task, FitConfig(epochs=5, batch_size=2, learning_rate=0.1, watch="figure", patience=2))
    assert (fitted.num_steps, fitted.kept_step) == (8, 4)  # an equal figure is not a better one
    assert fitted.figures == {"figure": 0.5}
    at_4 = fit_in_process(MeanOfLine(figures=(0.0,) * 5), FitConfig(epochs=5, batch_size=2, learning_rate=0.1))
    assert fitted.state["w"] > at_4.state["w"]  # w falls with every step
    assert torch.equal(task.module.w.detach(), fitted.state["w"])


def test_bf16_computes_the_module_and_fp32_the_loss() -> None:
    class Typed(WordMatching):
        def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
            assert {tensor.dtype for tensor in outputs.values()} == {torch.float32}
            return super().loss(outputs, rows_B)

    half, full = (
        fit_in_process(Typed(), FitConfig(batch_size=8, precision=p, learning_rate=0.05)) for p in ("bf16", "fp32")
    )
    difference = abs(half.curve[0].loss - full.curve[0].loss)
    assert 0.0 < difference < 0.05
    assert half.state["words.weight"].dtype == torch.float32


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_rank_of_a_worker_seeds_only_dropout(dropout: float) -> None:
    task, rows_b = WordMatching(dropout=dropout), np.arange(5)
    losses = []
    for rank in (0, 1, 0):
        group = SingleProcess()
        group.rank = rank
        losses.append(_GlobalLoss(task, QUICK, group)(task.inputs(rows_b, 0), rows_b, [5], 3).item())
    assert losses[0] == losses[2]
    assert (losses[0] == losses[1]) == (dropout == 0.0)


def test_more_workers_than_examples_in_a_batch_are_refused() -> None:
    group = SingleProcess()
    group.size = 4
    with pytest.raises(ConfigError, match="4 workers for batches of 3 examples; raise batch_size or lower num_workers"):
        run_fit(MeanOfLine(10), FitConfig(batch_size=4), group, FitProgress(), keep=lambda progress: None)


def _refusing() -> list[tuple[MeanOfLine, FitConfig, str]]:
    frozen, exploding = MeanOfLine(), MeanOfLine()
    frozen.module.requires_grad_(False)
    exploding.x_N[:] = torch.inf
    return [
        (MeanOfLine(0), QUICK, "the task has no examples"),
        (frozen, QUICK, "no parameter of the module is trainable; unfreeze some"),
        (exploding, QUICK, "the loss is inf at step 1; lower learning_rate, or check the examples"),
        (MeanOfLine(), FitConfig(watch="ndcg"), "watch is 'ndcg'; allowed, metrics of this task: none"),
        (MeanOfLine(figures=(1.0,)), FitConfig(watch="ndcg"), "watch is 'ndcg'; allowed, metrics of this task: figure"),
    ]


@pytest.mark.parametrize("number", range(5))
def test_invalid_fits_are_refused_with_a_fix(number: int) -> None:
    task, config, words = _refusing()[number]
    with pytest.raises(ConfigError, match=words):
        fit_in_process(task, config)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "epochs is 0; allowed: 1 or more"),
        ({"checkpoint_every": -1}, "checkpoint_every is -1; allowed: 0 or more"),
        ({"fgm_epsilon": -0.5}, "fgm_epsilon is -0.5; allowed: 0.0 or more"),
        ({"warmup_share": 1.5}, "warmup_share is 1.5; allowed: 0.0 to 1.0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; allowed: above 0"),
        ({"patience": 2}, "patience is 2 and watch is empty; set watch to a metric"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FitConfig(**settings)  # type: ignore[arg-type]
