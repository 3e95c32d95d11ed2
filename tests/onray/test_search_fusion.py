"""The search for a fusion on a task whose best weights are known, and what becomes of points that cannot be measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

from intarsia.config import to_jsonable
from intarsia.engine.config import EngineConfig
from intarsia.errors import ConfigError, DataError
from intarsia.experiments.fusion_search_result import FusionSearch, table
from intarsia.experiments.fusion_training_data import EncodedQueries
from intarsia.experiments.packed_candidates import PackedCandidates
from intarsia.experiments.text_only_fusion import open_text_only
from intarsia.experiments.trial_objective import TrialLessons, score_config
from intarsia.fusion.ensemble.boosting import BoostingConfig
from intarsia.fusion.ensemble.cross_fit import open_cross_fit
from intarsia.fusion.feature.feature_fuser import FeatureConfig
from intarsia.fusion.score.weighted import WeightedConfig
from intarsia.fusion.spec import FusionSpec
from intarsia.lake import Lake
from intarsia.onray.tuning import PointSearch, TrialsConfig, run_search
from intarsia.records.candidates import Candidates
from intarsia.records.judgment import QueryKind
from pipelines.job import JobProgress
from pipelines.search_fusion import JOB, SearchFusionConfig, fit_to_serve, run, search_fusion
from tests.fusion_tasks import RETRIEVERS, judged, task
from tests.unit.engine.small_release import FLOORS, ask, shop
from tune_spaces.fusion_space import FusionSpaceConfig

TRUTH: Mapping[QueryKind, tuple[float, float, float]] = {
    "text": (1.0, 0.3, 0.0),
    "image": (0.0, 0.0, 1.0),
    "both": (0.3, 0.3, 1.0),
}
PLAIN = FusionSpaceConfig(kinds=("convex", "rrf", "equal", "comb_sum", "comb_mnz"))
CONFIG = SearchFusionConfig(
    space=PLAIN, num_trials=16, num_finalists=3, num_by_kind=1, simplex_steps=5, min_queries_by_kind=20
)


@pytest.fixture(scope="module")
def found(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> FusionSearch:
    folder = tmp_path_factory.mktemp("search")
    searched = search_fusion(
        task(1, truth=TRUTH), task(2, truth=TRUTH), CONFIG, folder=folder, progress=JobProgress("search_fusion")
    )
    assert list(folder.iterdir()) == [], "nothing of Tune stays behind"
    return searched


def test_the_chosen_fusion_beats_every_retriever_alone(found: FusionSearch) -> None:
    assert found.chosen.spec is not None
    verdicts = {one.name: one.chosen_minus_it.verdict for one in found.baselines if one.chosen_minus_it}
    assert list(verdicts) == ["bm25 alone", "text alone", "image alone", "equal weights", "rrf, k 60"]
    assert {verdicts[f"{name} alone"] for name in RETRIEVERS} == {"better"}
    assert "worse" not in verdicts.values()


def test_the_chosen_one_is_the_best_of_the_finalists_on_validation(found: FusionSearch) -> None:
    means = [one.validation.mean for one in (*found.baselines, *found.finalists) if one.validation]
    assert found.chosen.validation is not None
    assert found.chosen.validation.mean == max(means)


@pytest.mark.usefixtures("cluster")
def test_queries_that_were_made_choose_weights_that_lean_to_equal(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, num_trials=8, synthetic_may_be_dropped=1_000.0)
    searched = search_fusion(
        task(1, truth=TRUTH), task(2, truth=TRUTH), config, folder=tmp_path, progress=JobProgress("t"), only_made=True
    )
    assert searched.chosen == searched.finalists[-1]
    assert searched.chosen.name.endswith(", leaning")
    assert searched.chosen.spec is not None
    assert list(searched.chosen.spec.weights.values()) == pytest.approx([1 / 3] * 3)
    assert not any(one.name.endswith("by kind") for one in searched.finalists)
    assert [one.name for one in searched.baselines][-1] == "rrf, k 60"


def test_the_plain_fusions_are_among_the_trials(found: FusionSearch) -> None:
    assert len(found.trials) == CONFIG.num_trials
    tried = [one.spec for one in found.trials]
    assert FusionSpec(kind="equal", depth=200) in tried
    alone = [dict(spec.weights) for spec in tried if spec and list(spec.weights.values()).count(0.0) == 2]
    assert {max(weights, key=weights.__getitem__) for weights in alone} == set(RETRIEVERS)


def test_the_best_on_train_are_also_tried_with_weights_by_kind(found: FusionSearch) -> None:
    refined = [one for one in found.finalists if one.name.endswith("by kind")]
    plain_train = {one.name: one.train for one in found.finalists}
    assert len(refined) == CONFIG.num_by_kind
    for one in refined:
        assert one.spec is not None
        assert one.spec.weights_by_kind
        assert one.train is not None
        assert one.train > (plain_train[one.name.removesuffix(", by kind")] or 0.0)


def test_the_search_can_be_written_down_and_printed(found: FusionSearch) -> None:
    assert json.loads(json.dumps(to_jsonable(found)))["chosen"]["name"] == found.chosen.name
    lines = table(found)
    assert sum("chosen" in line for line in lines[1:]) == 2  # its row, and its numbers
    assert all(any(line.startswith(name) for line in lines) for name in ("bm25 alone", "equal weights", "rrf, k 60"))


def test_the_same_seed_finds_the_same(found: FusionSearch, tmp_path: Path) -> None:
    again = search_fusion(
        task(1, truth=TRUTH), task(2, truth=TRUTH), CONFIG, folder=tmp_path, progress=JobProgress("search_fusion")
    )
    assert to_jsonable(again) == to_jsonable(found)


def test_a_split_without_a_relevant_product_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"judgments: grade is 'none above 0 for the 0 queries of split validation'"):
        search_fusion(task(1), task(2, num_queries=0), CONFIG, folder=tmp_path, progress=JobProgress("search_fusion"))


@pytest.mark.usefixtures("cluster")
def test_fitted_kinds_are_searched_too_and_are_finalists(tmp_path: Path) -> None:
    found_by = {name: judged(seed, num_queries=40, truth=TRUTH) for name, seed in (("train", 1), ("validation", 2))}
    tasks = {name: PackedCandidates.of(candidates, qrels) for name, (candidates, qrels) in found_by.items()}
    training_data = tuple(
        EncodedQueries(query_ids=tuple(f"{name}-{n}" for n in range(40)), encoded=(), qrels=qrels).training_data(
            candidates, None
        )
        for name, (candidates, qrels) in found_by.items()
    )
    space = FusionSpaceConfig(
        kinds=("convex", "weighted", "boosting", "gated"),  # gated reads vectors, and there are none
        settings={"boosting": {"num_rounds": 20}, "weighted": {"normalisers": ("z",), "num_steps": 2}},
    )
    whole = TrialsConfig(first_stop=9)  # who is stopped depends on who reported first: here nobody is
    config = dataclasses.replace(CONFIG, space=space, num_trials=6, num_folds=2, num_by_kind=0, trials=whole)
    searched = search_fusion(
        tasks["train"],
        tasks["validation"],
        config,
        folder=tmp_path,
        progress=JobProgress("search_fusion"),
        training_data=(training_data[0], training_data[1]),
    )
    kinds = [one.spec.kind for one in searched.trials if one.spec]
    assert {"weighted", "boosting"} <= set(kinds)
    (failed,) = [one for one in searched.trials if one.error]
    assert failed.spec == FeatureConfig(kind="gated"), "the report names the kind that failed"
    assert failed.train is None
    finalists = {one.spec.kind: one for one in searched.finalists if one.spec and not isinstance(one.spec, FusionSpec)}
    assert set(finalists) == {"weighted", "boosting"}
    weighted = finalists["weighted"]
    assert weighted.spec == WeightedConfig(normalisers=("z",), num_steps=2)
    measured_on = TrialLessons(task=tasks["train"], train=training_data[0], validation=training_data[1])
    out_of_fold = list(
        score_config(WeightedConfig(normalisers=("z",), num_steps=2), measured_on, k=10, num_folds=2, seed=13)
    )
    assert len(out_of_fold) == 2
    assert weighted.train == out_of_fold[-1]
    assert all(0 < (one.p_holm or 0.0) <= 1 for one in (*searched.baselines, *searched.finalists))
    assert json.loads(json.dumps(to_jsonable(searched)))["trials"][0]["spec"]["kind"] == kinds[0]


def test_a_fitted_kind_is_saved_with_the_fits_that_did_not_see_each_fold(tmp_path: Path) -> None:
    candidates, qrels = judged(1, num_queries=30, truth=TRUTH)
    ids = tuple(f"q{number}" for number in range(30))
    training_data = EncodedQueries(query_ids=ids, encoded=(), qrels=qrels).training_data(candidates, None)
    config = dataclasses.replace(CONFIG, num_folds=3)
    fit_to_serve(BoostingConfig(num_rounds=5), training_data, training_data, config).save(tmp_path)
    opened = open_cross_fit(tmp_path)
    assert len(opened.folds) == 3
    spread = [opened.out_of_fold(name).fuse(one).fused_C for name, one in zip(ids, candidates, strict=True)]
    served = [opened.full.fuse(one).fused_C for one in candidates]
    assert any(not np.array_equal(one, other) for one, other in zip(spread, served, strict=True))  # type: ignore[arg-type]
    assert fit_to_serve(FusionSpec(kind="rrf"), None, None, config).folds == ()


@pytest.mark.usefixtures("cluster")
def test_the_job_reads_the_lake_and_publishes_what_it_chose(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    for name in JOB.reads:
        (tmp_path / "lake" / name).symlink_to(shop().lake.root / name)
    lake = Lake(tmp_path / "lake")
    space = FusionSpaceConfig(kinds=("equal", "weighted"), settings={"weighted": {"num_steps": 1}})
    config = SearchFusionConfig(engine=FLOORS, space=space, num_trials=3, num_finalists=1, num_folds=2)
    counts = run(config, lake, JobProgress("search_fusion"))
    folder = lake.current("fusion_spec").path
    trials = json.loads((folder / "trials.json").read_text(encoding="utf-8"))
    assert counts["trials"] == len(trials["trials"]) == 4  # three points of plain kinds, one of the fitted kind
    assert counts["failed"] == 1  # its folds leave it no train query: told, and the plain kinds stand
    assert "judge more queries" in trials["trials"][-1]["error"]
    assert trials["chosen"]["spec"]["kind"] == counts["kind"] == lake.current("fusion_spec").notes["kind"]
    assert EngineConfig.open(folder) == FLOORS
    assert open_cross_fit(folder).full.fuse(judged_shop_candidates()).fused_C is not None
    text_only = open_text_only(folder)
    assert text_only is not None, "the shop has pictures"
    assert set(text_only.spec.weights) in ({"bm25", "text"}, set())
    assert not (lake.root / ".tune").exists()


def judged_shop_candidates() -> Candidates:
    engine = shop().engine()
    return engine.retrieve.retrieve([engine.encoders.encode(ask("red bag"))])[0]


def point_search(measure: Any) -> PointSearch[float]:
    return PointSearch(
        measure=measure,
        data=2.0,
        space={"x": tune.uniform(0.0, 1.0)},
        maximise="y",
        worst=0.0,
        first_points=[{"x": 0.9}, {"x": 0.2}],
        num_trials=4,
        num_at_once=2,
        seed=1,
    )


def test_a_trial_that_raises_is_reported_and_the_search_goes_on(cluster: None, tmp_path: Path) -> None:
    def double(point: Mapping[str, float], data: float) -> dict[str, float]:
        if point["x"] > 0.8:
            raise ValueError(f"x is {point['x']}")
        return {"y": data * point["x"]}

    counted: list[tuple[int, int]] = []
    trials = run_search(
        point_search(double), folder=tmp_path, on_trial=lambda done, total: counted.append((done, total))
    )
    assert (trials[0].error, trials[0].figures) == ("ValueError: x is 0.9", None)
    assert (trials[1].error, trials[1].figures) == (None, {"y": 0.4})
    assert [one.number for one in trials] == [0, 1, 2, 3]
    assert counted == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_search_whose_every_trial_raises_says_why(cluster: None, tmp_path: Path) -> None:
    def refuse(point: Mapping[str, float], data: float) -> dict[str, float]:
        raise ValueError("never")

    with pytest.raises(ConfigError, match=r"all 4 trials of the search failed; the first: ValueError: never"):
        run_search(point_search(refuse), folder=tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"num_trials": 0}, "num_trials is 0; allowed: 1 or more"),
        ({"num_folds": 1}, "num_folds is 1; allowed: 2 or more"),
        ({"num_by_kind": -1}, "num_by_kind is -1; allowed: 0 or more"),
    ],
)
def test_a_search_refuses_what_it_cannot_do(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SearchFusionConfig(**values)
