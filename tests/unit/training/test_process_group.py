"""Fits of a small tower shared by two processes over gloo equal those of one process."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from statistics import mean

import pytest
import torch

from intarsia.errors import ConfigError, IntarsiaError
from intarsia.training.adapters import AdapterConfig
from intarsia.training.loop import FitConfig, FitResult, fit_in_process
from tests.two_process_group import (
    MeasuresItsShard,
    SharedFit,
    SharesALayersWeight,
    align_task,
    fit_in_two,
    masked_language_model_task,
    tower_task,
)
from tests.word_matching import WordMatching

pytestmark = pytest.mark.slow

CONFIG = FitConfig(epochs=6, batch_size=8, learning_rate=1e-3)
WORDS = FitConfig(epochs=3, batch_size=7, accumulate=2, learning_rate=0.05)
SEEDS = range(3)
FITS = {
    "tower": SharedFit(make=partial(tower_task, 0.0), config=CONFIG),
    **{
        f"dropout, seed {seed}": SharedFit(
            make=partial(tower_task, 0.1), config=FitConfig(epochs=6, batch_size=8, learning_rate=1e-3, seed=seed)
        )
        for seed in SEEDS
    },
    "sharded tower": SharedFit(
        make=partial(tower_task, 0.0),
        config=replace(CONFIG, accumulate=2, epochs=12, fgm_epsilon=0.1, watch="apart"),
        shard=True,
    ),
    "sharded tower, two passes": SharedFit(make=partial(tower_task, 0.0, r_drop=1.0), config=CONFIG, shard=True),
    "sharded adapters": SharedFit(
        make=partial(tower_task, 0.0, adapter=AdapterConfig(kind="lora")), config=CONFIG, shard=True
    ),
    "sharded upper layer": SharedFit(
        make=partial(tower_task, 0.0, adapter=AdapterConfig(kind="upper", num_layers=1)), config=CONFIG, shard=True
    ),
    "sharded bilstm": SharedFit(make=partial(tower_task, 0.0, "bilstm"), config=CONFIG, shard=True),
    "sharded clip": SharedFit(make=partial(tower_task, 0.0, "clip"), config=CONFIG, shard=True),
    "sharded, stopped": SharedFit(
        make=partial(tower_task, 0.0), config=replace(CONFIG, checkpoint_every=5), shard=True, goes_on_from=5
    ),
    "sharded masked words": SharedFit(make=masked_language_model_task, config=CONFIG, shard=True),
    "sharded alignment": SharedFit(make=align_task, config=CONFIG, shard=True),
    "sharded words": SharedFit(make=WordMatching, config=WORDS, shard=True),
    "parts": SharedFit(make=MeasuresItsShard, config=WORDS, shard=True),
    "adalora": SharedFit(
        make=partial(tower_task, 0.0, adapter=AdapterConfig(kind="adalora")), config=CONFIG, shard=True
    ),
    "shared weight": SharedFit(make=SharesALayersWeight, config=CONFIG, shard=True),
}
SHARDED = [name for name in FITS if name.startswith("sharded")]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FitResult]:
    return fit_in_two(FITS, tmp_path_factory.mktemp("processes"))


def of_one(name: str) -> FitResult:
    return fit_in_process(FITS[name].make(), FITS[name].config)


def losses(fit: FitResult) -> list[float]:
    return [record.loss for record in fit.curve]


def test_without_dropout_two_processes_give_the_fit_of_one(of_two: dict[str, FitResult]) -> None:
    two, one = of_two["tower"], of_one("tower")
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert losses(one)[-1] < 0.2 * losses(one)[0]
    assert two.state.keys() == one.state.keys()
    for name, tensor in one.state.items():
        torch.testing.assert_close(two.state[name], tensor, rtol=0, atol=1e-3)  # a step moves by up to 1e-3


@pytest.mark.parametrize("name", SHARDED)
def test_a_sharded_fit_equals_the_fit_of_one_process(of_two: dict[str, FitResult], name: str) -> None:
    two, one = of_two[name], of_one(name)
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)
    for step_of_two, step_of_one in zip(two.curve, one.curve, strict=True):
        assert step_of_two.figures == pytest.approx(step_of_one.figures, rel=1e-3)
    assert (two.num_steps, two.kept_step) == (one.num_steps, one.kept_step)
    assert two.state.keys() == one.state.keys()
    for tensor_name, tensor in one.state.items():
        assert type(two.state[tensor_name]) is torch.Tensor
        torch.testing.assert_close(two.state[tensor_name], tensor, rtol=1e-3, atol=1e-3)


def test_a_worker_has_its_shard_of_the_weights_of_rank_0(of_two: dict[str, FitResult]) -> None:
    two, one = of_two["parts"], of_one("parts")
    assert one.figures["local_share"] == 1.0
    assert two.figures["local_share"] == pytest.approx(0.5, abs=0.01)
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    for name, tensor in one.state.items():
        torch.testing.assert_close(two.state[name], tensor, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_sharded_is_refused_by_name(of_two: dict[str, IntarsiaError]) -> None:
    for name, words in (
        (
            "adalora",
            "adalora needs whole matrices to allocate its ranks.* set the adapter kind to lora, or shard to false",
        ),
        ("shared weight", "module.layers.1.weight belongs to two layers.* set shard to false"),
    ):
        assert isinstance(of_two[name], ConfigError)
        assert re.search(words, str(of_two[name]))


def test_with_dropout_curves_of_two_processes_agree_on_average(
    of_two: dict[str, FitResult],
) -> None:
    names = [f"dropout, seed {seed}" for seed in SEEDS]
    ones, twos = [losses(of_one(name)) for name in names], [losses(of_two[name]) for name in names]
    assert all(
        max(abs(a - b) for a, b in zip(one, two, strict=True)) > 0.1 for one, two in zip(ones, twos, strict=True)
    )
    assert mean(map(mean, twos)) == pytest.approx(mean(map(mean, ones)), rel=0.1)
    assert mean(map(mean, ones)) > 1.5 * mean(losses(of_one("tower")))  # so much would be lost without masks
