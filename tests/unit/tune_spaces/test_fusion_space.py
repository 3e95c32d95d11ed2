"""The search space of fusions: first points, the settings of a point, and invalid spaces."""

from __future__ import annotations

from typing import Any

import pytest

from intarsia.errors import ConfigError
from intarsia.fusion.ensemble.boosting import BoostingConfig
from intarsia.fusion.ensemble.stacking import StackingConfig
from intarsia.fusion.feature.config import FeatureFitConfig
from intarsia.fusion.feature.feature_fuser import FeatureConfig
from tests.fusion_tasks import RETRIEVERS
from tune_spaces.fusion_space import (
    SEARCHED_SETTINGS,
    FusionSpaceConfig,
    config_of_point,
    first_points,
    fusion_space,
    spec_of_point,
)

UNFITTED = FusionSpaceConfig(kinds=("convex", "rrf", "equal", "comb_sum", "comb_mnz"))


def test_every_first_point_lies_in_the_space_and_is_a_spec() -> None:
    space = fusion_space(RETRIEVERS, UNFITTED, max_depth=120)
    points = first_points(RETRIEVERS, UNFITTED, max_depth=120)
    assert all(point.keys() == space.keys() for point in points)
    assert all(space[name].is_valid(value) for point in points for name, value in point.items())
    specs = [spec_of_point(point, RETRIEVERS) for point in points]
    assert [spec.kind for spec in specs] == ["rrf", "equal", "comb_sum", "comb_mnz", "convex", "convex", "convex"]
    assert [dict(spec.weights) for spec in specs[4:]] == [
        {name: float(name == single) for name in RETRIEVERS} for single in RETRIEVERS
    ]
    assert {spec.depth for spec in specs} == {120}


def test_fitted_methods_start_from_their_defaults_and_keep_given_settings() -> None:
    settings = {"boosting": {"num_leaves": 5}, "gated": {"num_folds": 0, "joint": {"width": 32}}}
    config = FusionSpaceConfig(kinds=("equal", *SEARCHED_SETTINGS), settings=settings)
    space = fusion_space(RETRIEVERS, config, max_depth=120)
    points = first_points(RETRIEVERS, config, max_depth=120)
    assert all(point.keys() == space.keys() for point in points)
    assert all(space[name].is_valid(value) for point in points for name, value in point.items())
    configs = {
        method_config.kind: method_config
        for method_config in (config_of_point(point, RETRIEVERS, config) for point in points)
    }
    assert set(configs) == {"equal", *SEARCHED_SETTINGS}
    assert configs["boosting"] == BoostingConfig(num_leaves=5)
    assert configs["stacking"] == StackingConfig()
    assert configs["gated"] == FeatureConfig(kind="gated", num_folds=0, joint=FeatureFitConfig(width=32))
    assert "gated.joint.dropout" in space
    assert not {"boosting.num_leaves", "gated.joint.width"} & set(space)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"fusion method 'boostin' is not known; did you mean boosting\?"):
        FusionSpaceConfig(kinds=("boostin",))


def test_draws_of_one_give_equal_weights() -> None:
    draws = {f"draw_{name}": 1.0 for name in RETRIEVERS}
    spec = spec_of_point({"kind": "rrf", "normaliser": "z", "depth": 5, "rrf_k": 60.0, **draws}, RETRIEVERS)
    assert spec.weights == dict.fromkeys(RETRIEVERS, 1 / 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kinds": ()}, "kinds, normalisers and depths need at least one value each"),
        ({"depths": (50, 0)}, "depths has 0; allowed: 1 or more"),
        ({"settings": {"gate": {}}}, "settings has gate; allowed: fitted kinds among kinds, gated"),
        ({"rrf_k_min": 80.0}, r"rrf_k 80.0\.\.200.0; allowed: above 0, with the usual 60 inside"),
    ],
)
def test_invalid_spaces_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FusionSpaceConfig(**values)
