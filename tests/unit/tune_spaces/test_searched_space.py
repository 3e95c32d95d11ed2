"""The space that search_fusion searches, by its queries and its engine."""

from __future__ import annotations

from intarsia.engine.config import EngineConfig
from pipelines.search_fusion import SearchFusionConfig, effective_space
from tune_spaces.fusion_space import FusionSpaceConfig

SPACE = FusionSpaceConfig(kinds=("rrf", "gated"), settings={"gated": {}})


def test_with_judged_queries_the_space_is_searched_as_given() -> None:
    assert effective_space(SearchFusionConfig(space=SPACE), only_synthetic=False) == SPACE


def test_with_synthetic_queries_only_fitted_methods_are_left_out() -> None:
    space = effective_space(SearchFusionConfig(space=SPACE), only_synthetic=True)
    assert (space.kinds, space.settings) == (("rrf",), {})
    only_fitted = FusionSpaceConfig(kinds=("gated",), settings={"gated": {}})
    assert effective_space(SearchFusionConfig(space=only_fitted), only_synthetic=True).kinds == ("equal",)


def test_re_ranking_searches_the_full_depth_only() -> None:
    engine = EngineConfig(depth=2_000, judged_only=True)
    assert effective_space(SearchFusionConfig(space=SPACE, engine=engine), only_synthetic=False).depths == (2_000,)
