from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intarsia.config import to_jsonable
from intarsia.evaluation.report import FusionTrialRow
from intarsia.evaluation.significance import Interval
from intarsia.experiments.fusion_search_result import (
    TRIALS_FILE,
    FusionSearch,
    MeasuredFusion,
    describe_choice,
    describe_settings,
    read_search,
    trial_rows,
)
from intarsia.fusion.ensemble.boosting import BoostingConfig
from intarsia.fusion.feature.config import FeatureFitConfig
from intarsia.fusion.feature.feature_fuser import FeatureConfig
from intarsia.fusion.method import MethodConfig
from intarsia.fusion.spec import FusionSpec
from intarsia.lake import write_json

RRF, EQUAL = FusionSpec(kind="rrf"), FusionSpec(kind="equal")


def measured(name: str, spec: MethodConfig | None, train: float, validation: float) -> MeasuredFusion:
    value = Interval(mean=validation, low=validation, high=validation, num_queries=9)
    return MeasuredFusion(name=name, spec=spec, train=train, validation=value)


def search_with(chosen: MeasuredFusion, *finalists: MeasuredFusion) -> Mapping[str, Any]:
    """A search as JSON; the best single retriever, which has no spec, is better than any fusion."""
    baselines = (measured("text alone", None, 0.9, 0.9), measured("equal weights", EQUAL, 0.5, 0.5))
    search = FusionSearch(chosen=chosen, baselines=baselines, finalists=(*finalists, chosen), trials=())
    values: Mapping[str, Any] = to_jsonable(search)
    return values


def test_an_unfitted_fusion_is_chosen_on_validation() -> None:
    search = search_with(measured("trial 7", RRF, 0.5, 0.6))
    text = (
        "Chosen: trial 7 (rrf), best on the validation queries among equal weights, RRF and the best trials without "
        "fitted parts"
    )
    assert describe_choice(search) == f"{text}."
    boosted = to_jsonable(MeasuredFusion(name="trial 8", spec=BoostingConfig(), train=0.4))
    failed = boosted | {"train": None, "error": "ValueError: no"}
    assert describe_choice({**search, "trials": [failed]}) == f"{text}."
    beaten = f"{text}; no fitted method was better on out-of-fold train queries."
    assert describe_choice({**search, "trials": [failed, boosted]}) == beaten


def test_a_fitted_fusion_is_chosen_on_train_and_says_against_what() -> None:
    best_unfitted = measured("trial 7", RRF, 0.55, 0.6)
    text = describe_choice(search_with(measured("trial 9", BoostingConfig(), 0.625, 0.58), best_unfitted))
    assert text.startswith("Chosen: trial 9 (boosting). It is fitted")
    assert "it was chosen on the train queries: its out-of-fold mean is 0.625" in text
    assert "against 0.550 of trial 7 (rrf), best on the validation queries among equal weights" in text


def test_with_synthetic_queries_the_report_says_weights_were_moved() -> None:
    text = describe_choice(search_with(measured("trial 7, shrunk", RRF, 0.5, 0.6)))
    assert text.startswith("Chosen: trial 7, shrunk (rrf). There are no judged queries")


def test_a_search_without_a_choice_has_no_description() -> None:
    assert describe_choice({"trials": []}) == ""


def test_every_trial_has_a_row_also_stopped_and_failed_ones(tmp_path: Path) -> None:
    convex = FusionSpec(kind="convex", normaliser="z", depth=50, weights={"bm25": 3.0, "text": 1.0, "image": 0.0})
    gated = FeatureConfig(kind="gated", joint=FeatureFitConfig(width=64, learning_rate=0.00123456))
    trials = (
        MeasuredFusion(name="trial 0", spec=convex, train=0.5),
        MeasuredFusion(name="trial 1", spec=RRF, train=0.4),
        MeasuredFusion(name="trial 2", spec=gated, train=0.3, stopped=True),
        MeasuredFusion(name="trial 3", spec=BoostingConfig(), train=None, error="ValueError: no"),
        MeasuredFusion(name="trial 4", spec=None, train=None, error="all failed"),
    )
    search = FusionSearch(chosen=trials[0], baselines=(), finalists=(), trials=trials)
    write_json(tmp_path / TRIALS_FILE, to_jsonable(search))
    assert trial_rows(read_search(tmp_path)) == (
        FusionTrialRow(number=0, kind="convex", settings="z, depth 50; all: bm25 0.75, text 0.25", score=0.5),
        FusionTrialRow(number=1, kind="rrf", settings="k 60.0, depth 1000; all: all equal", score=0.4),
        FusionTrialRow(
            number=2,
            kind="gated",
            settings="joint.learning_rate 0.00123, joint.width 64",
            score=0.3,
            stopped=True,
        ),
        FusionTrialRow(number=3, kind="boosting", settings="defaults", score=None, error="ValueError: no"),
        FusionTrialRow(number=4, kind="", settings="", score=None, error="all failed"),
    )


def test_settings_of_an_unknown_kind_are_described_in_full() -> None:
    assert describe_settings({"kind": "of old", "depth": 3, "inner": {"rate": 0.25}}) == "depth 3, inner.rate 0.25"
