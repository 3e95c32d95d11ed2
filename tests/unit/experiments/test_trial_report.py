from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intarsia.config import to_jsonable
from intarsia.evaluation.significance import Interval
from intarsia.evaluation.report import FusionTrial
from intarsia.experiments.fusion_search_result import TRIALS_FILE, FusionSearch, Tried, describe_settings
from intarsia.experiments.trial_report import how_chosen, read_search, trials_of
from intarsia.fusion.ensemble.boosting import BoostingConfig
from intarsia.fusion.feature.config import JointConfig
from intarsia.fusion.feature.feature_fuser import FeatureConfig
from intarsia.fusion.method import KindConfig
from intarsia.fusion.spec import FusionSpec
from intarsia.lake import write_json

RRF, EQUAL = FusionSpec(kind="rrf"), FusionSpec(kind="equal")


def tried(name: str, spec: KindConfig | None, train: float, validation: float) -> Tried:
    value = Interval(mean=validation, low=validation, high=validation, num_queries=9)
    return Tried(name=name, spec=spec, train=train, validation=value)


def searched(chosen: Tried, *finalists: Tried) -> Mapping[str, Any]:
    """As the report finds it; the best retriever alone, which has no spec, is better than any fusion."""
    baselines = (tried("text alone", None, 0.9, 0.9), tried("equal weights", EQUAL, 0.5, 0.5))
    found = FusionSearch(chosen=chosen, baselines=baselines, finalists=(*finalists, chosen), trials=())
    values: Mapping[str, Any] = to_jsonable(found)
    return values


def test_of_fusions_without_fitted_parts_the_validation_queries_chose() -> None:
    search = searched(tried("trial 7", RRF, 0.5, 0.6))
    said = "Chosen: trial 7 (rrf), best on the validation queries among equal weights, RRF and the best trials without fitted parts"
    assert how_chosen(search) == f"{said}."
    boosted = to_jsonable(Tried(name="trial 8", spec=BoostingConfig(), train=0.4))
    failed = boosted | {"train": None, "error": "ValueError: no"}
    assert how_chosen({**search, "trials": [failed]}) == f"{said}."
    beaten = f"{said}; no fitted kind was better on the train queries it had not seen."
    assert how_chosen({**search, "trials": [failed, boosted]}) == beaten


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


def test_every_trial_is_told_also_one_that_was_stopped_or_failed(tmp_path: Path) -> None:
    convex = FusionSpec(kind="convex", normaliser="z", depth=50, weights={"bm25": 3.0, "text": 1.0, "image": 0.0})
    gated = FeatureConfig(kind="gated", joint=JointConfig(width=64, learning_rate=0.00123456))
    trials = (
        Tried(name="trial 0", spec=convex, train=0.5),
        Tried(name="trial 1", spec=RRF, train=0.4),
        Tried(name="trial 2", spec=gated, train=0.3, stopped=True),
        Tried(name="trial 3", spec=BoostingConfig(), train=None, error="ValueError: no"),
        Tried(name="trial 4", spec=None, train=None, error="all failed"),
    )
    found = FusionSearch(chosen=trials[0], baselines=(), finalists=(), trials=trials)
    write_json(tmp_path / TRIALS_FILE, to_jsonable(found))
    assert trials_of(read_search(tmp_path)) == (
        FusionTrial(number=0, kind="convex", settings="z, depth 50; all: bm25 0.75, text 0.25", score=0.5),
        FusionTrial(number=1, kind="rrf", settings="k 60.0, depth 1000; all: all equal", score=0.4),
        FusionTrial(
            number=2,
            kind="gated",
            settings="joint.learning_rate 0.00123, joint.width 64",
            score=0.3,
            stopped=True,
        ),
        FusionTrial(number=3, kind="boosting", settings="defaults", score=None, error="ValueError: no"),
        FusionTrial(number=4, kind="", settings="", score=None, error="all failed"),
    )


def test_settings_of_a_kind_that_this_code_does_not_know_are_told_whole() -> None:
    assert describe_settings({"kind": "of old", "depth": 3, "inner": {"rate": 0.25}}) == "depth 3, inner.rate 0.25"
