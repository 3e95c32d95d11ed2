"""Two processes share a fit of a real, small tower over gloo: what they give is what one process gives."""

from __future__ import annotations

from functools import partial
from statistics import mean

import pytest
import torch

from intarsia.encoders.learning.loop import FitConfig, Fitted, fit_here
from tests.crew_of_two import SharedFit, fit_in_two, tower_learner

CONFIG = FitConfig(epochs=6, batch_size=8, learning_rate=1e-3)
SEEDS = range(3)
FITS = {
    "tower": SharedFit(make=partial(tower_learner, 0.0), config=CONFIG),
    **{
        f"dropout, seed {seed}": SharedFit(
            make=partial(tower_learner, 0.1), config=FitConfig(epochs=6, batch_size=8, learning_rate=1e-3, seed=seed)
        )
        for seed in SEEDS
    },
}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fitted]:
    return fit_in_two(FITS, tmp_path_factory.mktemp("crew"))


def of_one(name: str) -> Fitted:
    return fit_here(FITS[name].make(), FITS[name].config)


def losses(fit: Fitted) -> list[float]:
    return [point.loss for point in fit.curve]


def test_a_tower_without_dropout_learns_the_same_in_two_processes_as_in_one(of_two: dict[str, Fitted]) -> None:
    two, one = of_two["tower"], of_one("tower")
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert losses(one)[-1] < 0.2 * losses(one)[0]
    assert two.state.keys() == one.state.keys()
    for name, tensor in one.state.items():
        torch.testing.assert_close(two.state[name], tensor, rtol=0, atol=1e-3)  # a step moves by up to 1e-3


def test_with_dropout_two_processes_draw_other_masks_and_their_curves_agree_in_the_mean(
    of_two: dict[str, Fitted],
) -> None:
    names = [f"dropout, seed {seed}" for seed in SEEDS]
    ones, twos = [losses(of_one(name)) for name in names], [losses(of_two[name]) for name in names]
    assert all(
        max(abs(a - b) for a, b in zip(one, two, strict=True)) > 0.1 for one, two in zip(ones, twos, strict=True)
    )
    assert mean(map(mean, twos)) == pytest.approx(mean(map(mean, ones)), rel=0.1)
    assert mean(map(mean, ones)) > 1.5 * mean(losses(of_one("tower")))  # so much would be lost without masks
