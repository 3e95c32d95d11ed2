"""What search_fusion searches, by what it is given."""

from __future__ import annotations

from intarsia.engine.config import EngineConfig
from pipelines.search_fusion import SearchFusionConfig, effective_space
from tune_spaces.fusion_space import FusionSpaceConfig

SPACE = FusionSpaceConfig(kinds=("rrf", "gated"), settings={"gated": {}})


def test_judged_queries_are_searched_with_the_space_as_it_is_told() -> None:
    assert effective_space(SearchFusionConfig(space=SPACE), only_synthetic=False) == SPACE


def test_what_is_fitted_is_left_out_where_all_queries_were_made() -> None:
    space = effective_space(SearchFusionConfig(space=SPACE), only_synthetic=True)
    assert (space.kinds, space.settings) == (("rrf",), {})
    only_fitted = FusionSpaceConfig(kinds=("gated",), settings={"gated": {}})
    assert effective_space(SearchFusionConfig(space=only_fitted), only_synthetic=True).kinds == ("equal",)


def test_re_ranking_drops_nothing_that_was_judged() -> None:
    engine = EngineConfig(depth=2_000, judged_only=True)
    assert effective_space(SearchFusionConfig(space=SPACE, engine=engine), only_synthetic=False).depths == (2_000,)
