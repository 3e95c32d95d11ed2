"""The search spaces of rankers and of fine-tuning."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from intarsia.ranking.lambdamart import LambdaMartConfig
from intarsia.training.loop import FitConfig
from intarsia.training.losses import LossConfig
from intarsia.training.text_pairs import TextPairsConfig
from tune_spaces.finetuning_space import (
    FinetuningSpaceConfig,
    finetuning_space,
    fit_of_point,
    pairs_of_point,
    point_of,
)
from tune_spaces.ranker_space import RankerSpaceConfig, ranker_of_point, ranker_space

NUM_DRAWS = 50


def test_every_point_gives_a_ranker_and_other_settings_stay() -> None:
    base = LambdaMartConfig(num_rounds=7, seed=3)
    space = ranker_space(RankerSpaceConfig())
    for _ in range(NUM_DRAWS):
        point = {name: domain.sample() for name, domain in space.items()}
        ranker = asdict(ranker_of_point(point, base))
        assert {name: ranker[name] for name in point} == point
        assert (ranker["num_rounds"], ranker["seed"]) == (7, 3)


def test_every_point_gives_a_fit_and_a_loss_and_other_settings_stay() -> None:
    base = FitConfig(epochs=9, learning_rate=5e-5)
    pairs = TextPairsConfig(texts_per_anchor=3, loss=LossConfig(in_batch=0.7))
    space = finetuning_space(FinetuningSpaceConfig(learning_rates=(1e-5, 1e-4)), point_of(base, pairs))
    for _ in range(NUM_DRAWS):
        point = {name: domain.sample() for name, domain in space.items()}
        fit, shown = fit_of_point(point, base), pairs_of_point(point, pairs)
        assert point_of(fit, shown) == point
        assert (fit.epochs, shown.texts_per_anchor, shown.loss.in_batch) == (9, 3, 0.7)
        assert 1e-5 <= fit.learning_rate <= 1e-4
        assert 0.02 <= shown.loss.temperature <= 0.2


def test_the_space_of_fits_contains_the_initial_settings() -> None:
    own = point_of(FitConfig(learning_rate=1e-2, batch_size=5), TextPairsConfig(loss=LossConfig(temperature=0.01)))
    space = finetuning_space(FinetuningSpaceConfig(), own)
    assert (space["learning_rate"].lower, space["learning_rate"].upper) == (5e-6, 1e-2)
    assert (space["temperature"].lower, space["temperature"].upper) == (0.01, 0.2)
    assert space["batch_size"].categories == [8, 16, 32, 5]
    assert space["weight_decay"].categories == [0.0, 0.01, 0.1], "the initial value is in the list already"


@pytest.mark.parametrize(
    ("space", "values", "message"),
    [
        (RankerSpaceConfig, {"learning_rates": (0.1, 0.1)}, r"learning_rates is 0.1\.\.0.1; allowed: above 0, rising"),
        (RankerSpaceConfig, {"num_leaves": ()}, "num_leaves, min_data_in_leaf and prior_weights need at least one"),
        (FinetuningSpaceConfig, {"learning_rates": (0.0, 0.1)}, r"learning_rates is 0.0\.\.0.1; allowed: above 0"),
        (FinetuningSpaceConfig, {"temperatures": (0.2, 0.1)}, r"temperatures is 0.2\.\.0.1; allowed: above 0, rising"),
        (FinetuningSpaceConfig, {"batch_sizes": ()}, "batch_sizes is empty; allowed: at least one value"),
    ],
)
def test_invalid_spaces_are_refused(space: type[Any], values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space(**values)
