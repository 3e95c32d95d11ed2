"""The space that search_fusion searches, by its queries and its engine."""

from __future__ import annotations

from intarsia.engine.config import EngineConfig
from pipelines.search_fusion import SearchFusionConfig, space_of
from tune_spaces.fusion_space import FusionSpaceConfig

SPACE = FusionSpaceConfig(kinds=("rrf", "gated"), settings={"gated": {}})


def test_with_judged_queries_the_space_is_searched_as_given() -> None:
    assert space_of(SearchFusionConfig(space=SPACE), only_made=False) == SPACE


def test_with_synthetic_queries_only_fitted_methods_are_left_out() -> None:
    space = space_of(SearchFusionConfig(space=SPACE), only_made=True)
    assert (space.kinds, space.settings) == (("rrf",), {})
    only_fitted = FusionSpaceConfig(kinds=("gated",), settings={"gated": {}})
    assert space_of(SearchFusionConfig(space=only_fitted), only_made=True).kinds == ("equal",)


def test_re_ranking_searches_the_full_depth_only() -> None:
    engine = EngineConfig(depth=2_000, judged_only=True)
    assert space_of(SearchFusionConfig(space=SPACE, engine=engine), only_made=False).depths == (2_000,)
