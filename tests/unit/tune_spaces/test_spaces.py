from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from intarsia.encoders.learning.fit_config import FitConfig
from intarsia.ranking.lambdamart import LambdaMartConfig
from tune_spaces.finetuning import FinetuningSpaceConfig, finetuning_space, fit_of_point
from tune_spaces.ranker import RankerSpaceConfig, ranker_of_point, ranker_space

NUM_DRAWS = 50


def test_every_point_is_a_ranker_and_what_is_not_searched_stays() -> None:
    base = LambdaMartConfig(num_rounds=7, seed=3)
    space = ranker_space(RankerSpaceConfig())
    for _ in range(NUM_DRAWS):
        point = {name: domain.sample() for name, domain in space.items()}
        ranker = asdict(ranker_of_point(point, base))
        assert {name: ranker[name] for name in point} == point
        assert (ranker["num_rounds"], ranker["seed"]) == (7, 3)


def test_every_point_is_a_fit_and_what_is_not_searched_stays() -> None:
    base = FitConfig(epochs=9)
    space = finetuning_space(FinetuningSpaceConfig(learning_rates=(1e-5, 1e-4)))
    for _ in range(NUM_DRAWS):
        point = {name: domain.sample() for name, domain in space.items()}
        fit = asdict(fit_of_point(point, base))
        assert {name: fit[name] for name in point} == point
        assert fit["epochs"] == 9
        assert 1e-5 <= fit["learning_rate"] <= 1e-4


@pytest.mark.parametrize(
    ("space", "values", "words"),
    [
        (RankerSpaceConfig, {"learning_rates": (0.1, 0.1)}, r"learning_rates is 0.1\.\.0.1; allowed: above 0, rising"),
        (RankerSpaceConfig, {"num_leaves": ()}, "num_leaves, min_data_in_leaf and prior_weights need at least one"),
        (FinetuningSpaceConfig, {"learning_rates": (0.0, 0.1)}, r"learning_rates is 0.0\.\.0.1; allowed: above 0"),
        (FinetuningSpaceConfig, {"batch_sizes": ()}, "batch_sizes is empty; allowed: at least one value"),
    ],
)
def test_a_space_refuses_what_it_cannot_hold(space: type[Any], values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        space(**values)
