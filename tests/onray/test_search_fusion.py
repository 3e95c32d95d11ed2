"""The fusion search on data with known best weights, and trials that fail."""

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
from intarsia.experiments.fusion_objective import PackedCandidates, TrialData, score_config
from intarsia.experiments.fusion_search_result import FusionSearch, result_lines
from intarsia.experiments.fusion_training_data import EncodedQueries
from intarsia.experiments.text_only_fusion import open_text_only
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
from pipelines.search_fusion import JOB, SearchFusionConfig, fit_chosen, run, search_fusion
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
def search(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> FusionSearch:
    folder = tmp_path_factory.mktemp("search")
    result = search_fusion(
        task(1, true_weights=TRUTH),
        task(2, true_weights=TRUTH),
        CONFIG,
        folder=folder,
        progress=JobProgress("search_fusion"),
    )
    assert list(folder.iterdir()) == [], "the state of Ray Tune is removed"
    return result


def test_the_chosen_fusion_beats_every_single_retriever(search: FusionSearch) -> None:
    assert search.chosen.spec is not None
    verdicts = {fusion.name: fusion.chosen_minus_it.verdict for fusion in search.baselines if fusion.chosen_minus_it}
    assert list(verdicts) == ["bm25 alone", "text alone", "image alone", "equal weights", "rrf, k 60"]
    assert {verdicts[f"{name} alone"] for name in RETRIEVERS} == {"better"}
    assert "worse" not in verdicts.values()


def test_the_chosen_fusion_is_the_best_finalist_on_validation(search: FusionSearch) -> None:
    means = [fusion.validation.mean for fusion in (*search.baselines, *search.finalists) if fusion.validation]
    assert search.chosen.validation is not None
    assert search.chosen.validation.mean == max(means)


@pytest.mark.usefixtures("cluster")
def test_synthetic_queries_choose_shrunk_weights(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, num_trials=8, max_synthetic_loss=1_000.0)
    result = search_fusion(
        task(1, true_weights=TRUTH),
        task(2, true_weights=TRUTH),
        config,
        folder=tmp_path,
        progress=JobProgress("t"),
        only_synthetic=True,
    )
    assert result.chosen == result.finalists[-1]
    assert result.chosen.name.endswith(", shrunk")
    assert result.chosen.spec is not None
    assert list(result.chosen.spec.weights.values()) == pytest.approx([1 / 3] * 3)
    assert not any(fusion.name.endswith("by kind") for fusion in result.finalists)
    assert [fusion.name for fusion in result.baselines][-1] == "rrf, k 60"


def test_the_plain_fusions_are_among_the_trials(search: FusionSearch) -> None:
    assert len(search.trials) == CONFIG.num_trials
    tried = [fusion.spec for fusion in search.trials]
    assert FusionSpec(kind="equal", depth=200) in tried
    alone = [dict(spec.weights) for spec in tried if spec and list(spec.weights.values()).count(0.0) == 2]
    assert {max(weights, key=weights.__getitem__) for weights in alone} == set(RETRIEVERS)


def test_the_best_on_train_are_also_tried_with_weights_by_kind(search: FusionSearch) -> None:
    by_kind = [fusion for fusion in search.finalists if fusion.name.endswith("by kind")]
    plain_train = {fusion.name: fusion.train for fusion in search.finalists}
    assert len(by_kind) == CONFIG.num_by_kind
    for fusion in by_kind:
        assert fusion.spec is not None
        assert fusion.spec.weights_by_kind
        assert fusion.train is not None
        assert fusion.train > (plain_train[fusion.name.removesuffix(", by kind")] or 0.0)


def test_the_search_can_be_written_down_and_printed(search: FusionSearch) -> None:
    assert json.loads(json.dumps(to_jsonable(search)))["chosen"]["name"] == search.chosen.name
    lines = result_lines(search)
    assert sum("chosen" in line for line in lines[1:]) == 2  # its row, and its numbers
    assert all(any(line.startswith(name) for line in lines) for name in ("bm25 alone", "equal weights", "rrf, k 60"))


def test_the_same_seed_finds_the_same(search: FusionSearch, tmp_path: Path) -> None:
    again = search_fusion(
        task(1, true_weights=TRUTH),
        task(2, true_weights=TRUTH),
        CONFIG,
        folder=tmp_path,
        progress=JobProgress("search_fusion"),
    )
    assert to_jsonable(again) == to_jsonable(search)


def test_a_split_without_a_relevant_product_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"judgments: grade is 'none above 0 for the 0 queries of split validation'"):
        search_fusion(task(1), task(2, num_queries=0), CONFIG, folder=tmp_path, progress=JobProgress("search_fusion"))


@pytest.mark.usefixtures("cluster")
def test_fitted_kinds_are_searched_too_and_are_finalists(tmp_path: Path) -> None:
    by_split = {
        name: judged(seed, num_queries=40, true_weights=TRUTH) for name, seed in (("train", 1), ("validation", 2))
    }
    packed = {name: PackedCandidates.of(candidates, qrels) for name, (candidates, qrels) in by_split.items()}
    training_data = tuple(
        EncodedQueries(query_ids=tuple(f"{name}-{n}" for n in range(40)), encoded=(), qrels=qrels).training_data(
            candidates, None
        )
        for name, (candidates, qrels) in by_split.items()
    )
    space = FusionSpaceConfig(
        kinds=("convex", "weighted", "boosting", "gated"),  # gated reads vectors, which are missing here
        settings={"boosting": {"num_rounds": 20}, "weighted": {"normalisers": ("z",), "num_steps": 2}},
    )
    whole = TrialsConfig(first_stop=9)  # which trials are stopped depends on timing: here none is
    config = dataclasses.replace(CONFIG, space=space, num_trials=6, num_folds=2, num_by_kind=0, trials=whole)
    result = search_fusion(
        packed["train"],
        packed["validation"],
        config,
        folder=tmp_path,
        progress=JobProgress("search_fusion"),
        training_data=(training_data[0], training_data[1]),
    )
    kinds = [fusion.spec.kind for fusion in result.trials if fusion.spec]
    assert {"weighted", "boosting"} <= set(kinds)
    (failed,) = [fusion for fusion in result.trials if fusion.error]
    assert failed.spec == FeatureConfig(kind="gated"), "the report names the kind that failed"
    assert failed.train is None
    finalists = {
        fusion.spec.kind: fusion
        for fusion in result.finalists
        if fusion.spec and not isinstance(fusion.spec, FusionSpec)
    }
    assert set(finalists) == {"weighted", "boosting"}
    weighted = finalists["weighted"]
    assert weighted.spec == WeightedConfig(normalisers=("z",), num_steps=2)
    data = TrialData(packed=packed["train"], train=training_data[0], validation=training_data[1])
    out_of_fold = list(score_config(WeightedConfig(normalisers=("z",), num_steps=2), data, k=10, num_folds=2, seed=13))
    assert len(out_of_fold) == 2
    assert weighted.train == out_of_fold[-1]
    assert all(0 < (fusion.p_holm or 0.0) <= 1 for fusion in (*result.baselines, *result.finalists))
    assert json.loads(json.dumps(to_jsonable(result)))["trials"][0]["spec"]["kind"] == kinds[0]


def test_a_fitted_kind_is_saved_with_its_fold_fusers(tmp_path: Path) -> None:
    candidates, qrels = judged(1, num_queries=30, true_weights=TRUTH)
    ids = tuple(f"q{number}" for number in range(30))
    training_data = EncodedQueries(query_ids=ids, encoded=(), qrels=qrels).training_data(candidates, None)
    config = dataclasses.replace(CONFIG, num_folds=3)
    fit_chosen(BoostingConfig(num_rounds=5), training_data, training_data, config).save(tmp_path)
    crossed = open_cross_fit(tmp_path)
    assert len(crossed.folds) == 3
    out_of_fold_scores = [
        crossed.out_of_fold(name).fuse(fusion).fused_C for name, fusion in zip(ids, candidates, strict=True)
    ]
    full_scores = [crossed.full.fuse(fusion).fused_C for fusion in candidates]
    pairs = zip(out_of_fold_scores, full_scores, strict=True)
    assert any(not np.array_equal(out_of_fold, full) for out_of_fold, full in pairs)  # type: ignore[arg-type]
    assert fit_chosen(FusionSpec(kind="rrf"), None, None, config).folds == ()


@pytest.mark.usefixtures("cluster")
def test_the_job_publishes_the_chosen_fusion(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    for name in JOB.reads:
        (tmp_path / "lake" / name).symlink_to(shop().lake.root / name)
    lake = Lake(tmp_path / "lake")
    space = FusionSpaceConfig(kinds=("equal", "weighted"), settings={"weighted": {"num_steps": 1}})
    config = SearchFusionConfig(engine=FLOORS, space=space, num_trials=3, num_finalists=1, num_folds=2)
    counts = run(config, lake, JobProgress("search_fusion"))
    folder = lake.current("fusion_spec").path
    trials = json.loads((folder / "trials.json").read_text(encoding="utf-8"))
    assert counts["trials"] == len(trials["trials"]) == 4  # three points of plain kinds, one of the fitted method
    assert counts["failed"] == 1  # its folds leave no train query: reported, and the plain kinds are compared
    assert "judge more queries" in trials["trials"][-1]["error"]
    assert trials["chosen"]["spec"]["kind"] == counts["kind"] == lake.current("fusion_spec").notes["kind"]
    assert EngineConfig.open(folder) == FLOORS
    assert open_cross_fit(folder).full.fuse(judged_shop_candidates()).fused_C is not None
    text_only = open_text_only(folder)
    assert text_only is not None, "the shop has images"
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


def test_a_failed_trial_is_reported_and_the_search_goes_on(cluster: None, tmp_path: Path) -> None:
    def double(point: Mapping[str, float], data: float) -> dict[str, float]:
        if point["x"] > 0.8:
            raise ValueError(f"x is {point['x']}")
        return {"y": data * point["x"]}

    progress: list[tuple[int, int]] = []
    trials = run_search(
        point_search(double), folder=tmp_path, on_trial=lambda done, total: progress.append((done, total))
    )
    assert (trials[0].error, trials[0].figures) == ("ValueError: x is 0.9", None)
    assert (trials[1].error, trials[1].figures) == (None, {"y": 0.4})
    assert [fusion.number for fusion in trials] == [0, 1, 2, 3]
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_search_with_only_failed_trials_raises(cluster: None, tmp_path: Path) -> None:
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
def test_a_config_refuses_values_out_of_range(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SearchFusionConfig(**values)
