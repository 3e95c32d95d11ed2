from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia.config import plain
from intarsia.engine.fusion_search import FusionSearch, Tried
from intarsia.engine.tried_fusions import how_chosen
from intarsia.evaluation.compare import Interval
from intarsia.fusion.boosting import BoostingConfig
from intarsia.fusion.kind import KindConfig
from intarsia.fusion.spec import FusionSpec

RRF, EQUAL = FusionSpec(kind="rrf"), FusionSpec(kind="equal")


def tried(name: str, spec: KindConfig | None, train: float, validation: float) -> Tried:
    value = Interval(mean=validation, low=validation, high=validation, num_queries=9)
    return Tried(name=name, spec=spec, train=train, validation=value)


def searched(chosen: Tried, *finalists: Tried) -> Mapping[str, Any]:
    """As the report finds it; the best retriever alone, which has no spec, is better than any fusion."""
    baselines = (tried("text alone", None, 0.9, 0.9), tried("equal weights", EQUAL, 0.5, 0.5))
    found = FusionSearch(chosen=chosen, baselines=baselines, finalists=(*finalists, chosen), trials=())
    values: Mapping[str, Any] = plain(found)
    return values


def test_of_fusions_without_fitted_parts_the_validation_queries_chose() -> None:
    said = how_chosen(searched(tried("trial 7", RRF, 0.5, 0.6)))
    assert said.startswith("Chosen: trial 7 (rrf), best on the validation queries among equal weights, RRF")
    assert said.endswith("no fitted kind was better on the train queries it had not seen.")


def test_a_fitted_fusion_took_over_by_its_figure_on_train_and_the_report_says_against_what() -> None:
    rival = tried("trial 7", RRF, 0.55, 0.6)
    said = how_chosen(searched(tried("trial 9", BoostingConfig(), 0.625, 0.58), rival))
    assert said.startswith("Chosen: trial 9 (boosting). It is fitted")
    assert "the train queries chose it: there it has 0.625" in said
    assert "against 0.550 of trial 7 (rrf), best on the validation queries among equal weights" in said


def test_where_nobody_judged_any_query_the_report_says_that_the_weights_lean() -> None:
    said = how_chosen(searched(tried("trial 7, leaning", RRF, 0.5, 0.6)))
    assert said.startswith("Chosen: trial 7, leaning (rrf). Nobody judged any query")


def test_a_search_that_names_no_choice_says_nothing() -> None:
    assert how_chosen({"trials": []}) == ""
