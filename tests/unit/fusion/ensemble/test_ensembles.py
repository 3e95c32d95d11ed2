"""Weighted fusion, boosting, bagging and stacking: by arithmetic, and on training data whose best fusion is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intarsia.config import build
from intarsia.errors import ArtifactError, ConfigError
from intarsia.fusion.batch import pack
from intarsia.fusion.ensemble.bagging import BaggedFuser, BaggingConfig, fit_bagging
from intarsia.fusion.ensemble.base_methods import MEMBERS
from intarsia.fusion.ensemble.boosting import TREES_FILE, BoostingConfig, fit_boosting
from intarsia.fusion.ensemble.stacking import StackedFuser, StackingConfig, fit_stacking
from intarsia.fusion.fuser import SpecFuser, fuse_batch
from intarsia.fusion.protocol import FusionTrainingData
from intarsia.fusion.registry import fit_fuser, open_fuser, parse_method_config
from intarsia.fusion.score.gate import GateConfig
from intarsia.fusion.score.weighted import WeightedConfig, fit_weighted
from intarsia.fusion.spec import FUSION_FILE, FusionSpec
from intarsia.fusion.training_data import PackedTrainingData
from intarsia.lake import write_json
from tests.unit.fusion.fusion_cases import RETRIEVERS, fitted, small_config, training_data
from tests.unit.fusion.test_fuser import candidates

CANDIDATES = candidates({"bm25": [10.0, 6.0, 2.0], "text": [0.1, 0.3, 0.2]}, {"bm25": [1, 2, 3], "text": [3, 1, 2]})
STEP = (10 - 6) / np.sqrt(32 / 3) / 6  # three evenly spaced values become 0.5 + STEP, 0.5, 0.5 - STEP


def noise(data: FusionTrainingData, seed: int) -> FusionTrainingData:
    """The same queries with permuted grades."""
    rng = np.random.default_rng(seed)
    grades = [rng.permutation(query_grades) for query_grades in data.grades]
    return replace(data, grades=grades, judged=grades)


def test_fitted_weights_beat_equal_weights_on_train_and_give_a_spec() -> None:
    train = training_data("train")
    fuser = fit_weighted(WeightedConfig(), train, training_data("validation"), seed=0)
    packed = PackedTrainingData.of(train)
    equal = packed.mean_ndcg(fuse_batch(FusionSpec(kind="equal"), packed.batch), 10)
    assert packed.mean_ndcg(fuser.fuse_batch(packed.batch), 10) > equal + 0.03
    assert fuser.spec.kind == "convex"
    assert tuple(fuser.spec.weights) == RETRIEVERS
    # the grades weigh text most, by 1.5
    assert max(fuser.spec.weights, key=lambda name: fuser.spec.weights[name]) == "text"


def test_without_validation_queries_train_chooses_the_normaliser() -> None:
    empty = FusionTrainingData(query_ids=(), candidates=[], grades=[], judged=[])
    config = WeightedConfig(normalisers=("atan", "z"))
    packed = PackedTrainingData.of(training_data("train"))
    fuser = fit_weighted(config, training_data("train"), empty, seed=0)
    single_fits = [
        fit_weighted(replace(config, normalisers=(name,)), training_data("train"), empty, seed=0)
        for name in config.normalisers
    ]
    assert packed.mean_ndcg(fuser.fuse_batch(packed.batch), 10) == max(
        packed.mean_ndcg(single_fit.fuse_batch(packed.batch), 10) for single_fit in single_fits
    )


def test_a_bagged_score_is_the_mean_of_standardised_members() -> None:
    members = [SpecFuser(FusionSpec(kind="convex", weights={"bm25": b, "text": 1.0 - b})) for b in (1.0, 0.0)]
    bag = BaggedFuser(BaggingConfig(num_bags=2), ("bm25", "text"), members)
    fused = bag.fuse(CANDIDATES)
    assert fused.fused_C is not None
    assert fused.fused_C.tolist() == pytest.approx([0.5, (0.5 + 0.5 + STEP) / 2, (0.5 - STEP + 0.5) / 2])


def test_a_stacked_score_is_the_weighted_sum_of_standardised_columns() -> None:
    # rrf: 1/61 + 1/63, 1/62 + 1/61, 1/63 + 1/62, standardised to 0.5 + z / 6 like both retrievers
    rrf = np.array([1 / 61 + 1 / 63, 1 / 62 + 1 / 61, 1 / 63 + 1 / 62])
    z_C = 0.5 + (rrf - rrf.mean()) / rrf.std() / 6
    config = StackingConfig(members=(FusionSpec(kind="rrf"),))
    stack = StackedFuser(config, ("bm25", "text"), [SpecFuser(FusionSpec(kind="rrf"))], np.array([2.0, 1.0, 4.0]))
    fused = stack.fuse(CANDIDATES)
    assert fused.fused_C is not None
    expected = 2 * np.array([0.5 + STEP, 0.5, 0.5 - STEP]) + np.array([0.5 - STEP, 0.5 + STEP, 0.5]) + 4 * z_C
    assert fused.fused_C.tolist() == pytest.approx(expected, rel=1e-5)


def test_stacking_gives_little_weight_to_a_member_that_overfits() -> None:
    # unregularised trees overfit random grades; their out-of-fold scores carry no information
    overfitting = BoostingConfig(
        num_rounds=60,
        num_leaves=31,
        min_data_in_leaf=1,
        lambda_l2=0.0,
        learning_rate=0.3,
        only_rises=False,
        early_stopping_rounds=0,
    )
    train = noise(training_data("train", 96), 1)
    packed = PackedTrainingData.of(train)
    trees = fit_boosting(overfitting, train, training_data("validation"), seed=1)
    assert packed.mean_ndcg(trees.fuse_batch(packed.batch), 10) > 0.95
    stack = fit_stacking(
        StackingConfig(members=(overfitting,), num_folds=3), train, training_data("validation"), seed=1
    )
    assert packed.mean_ndcg(stack.fuse_batch(packed.batch), 10) < 0.8


def test_trees_fit_an_interaction_that_weights_cannot() -> None:
    # a candidate is relevant if both bm25 and text score it high: a product of conditions, not a sum
    rng = np.random.default_rng(3)
    train, test = training_data("train", 120), training_data("test", 120)

    def both(data: FusionTrainingData) -> FusionTrainingData:
        grades = [
            np.where((candidates.scores_CR[:, 0] > 10) & (candidates.scores_CR[:, 1] > 0.35), 1.0, 0.0)
            for candidates in data.candidates
        ]
        return replace(data, grades=grades, judged=grades)

    config = BoostingConfig(num_rounds=100, min_data_in_leaf=20)
    trees = fit_boosting(config, both(train), both(training_data("validation", 60)), seed=int(rng.integers(9)))
    weights = fit_weighted(WeightedConfig(), both(train), both(training_data("validation", 60)), seed=0)
    packed_test = PackedTrainingData.of(both(test))
    of_trees, of_weights = (
        packed_test.mean_ndcg(fuser.fuse_batch(packed_test.batch), 10) for fuser in (trees, weights)
    )
    assert of_trees > of_weights + 0.01


def test_a_higher_retriever_score_never_lowers_a_monotone_score() -> None:
    fuser = fitted("boosting")
    candidates = training_data("test").candidates[0]
    before = fuser.fuse(candidates).fused_C
    raised_CR = candidates.scores_CR.copy()
    best = int(np.nanargmax(raised_CR[:, 1]))
    raised_CR[best, 1] += 0.5  # it stays the first of text, with a larger distance
    after = fuser.fuse(replace(candidates, scores_CR=raised_CR)).fused_C
    assert before is not None
    assert after is not None
    assert after[best] >= before[best]


def test_bagged_trees_differ_by_their_samples() -> None:
    config = small_config("bagging")
    assert isinstance(config, BaggingConfig)
    bag = fit_bagging(config, training_data("train"), training_data("validation"), seed=2)
    batch = pack(training_data("test").candidates)
    scores = {member.fuse_batch(batch).fused_n.tobytes() for member in bag.members}
    assert len(scores) == len(bag.members)


def test_member_configs_are_built_from_plain_values() -> None:
    config = parse_method_config({"kind": "stacking", "members": [{"kind": "gate"}, {"kind": "comb_mnz", "depth": 9}]})
    assert isinstance(config, StackingConfig)
    assert config.members == (GateConfig(), FusionSpec(kind="comb_mnz", depth=9))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "weighted", "normalisers": []}, "normalisers are empty; allowed: one or more"),
        ({"kind": "weighted", "num_steps": 0}, "num_steps is 0; allowed: 1 or more"),
        ({"kind": "gate", "num_folds": 1}, "num_folds is 1; allowed: 2 or more"),
        ({"kind": "gate", "penalties": [0.0]}, r"penalties are \(0.0,\); allowed: one or more, all above 0"),
        ({"kind": "gate", "agreements": []}, r"agreements are \(\); allowed: one or more, all above 0"),
        ({"kind": "boosting", "num_leaves": 1}, "num_leaves is 1; allowed: 2 or more"),
        ({"kind": "boosting", "learning_rate": 2.0}, "learning_rate is 2.0; allowed: 0.01 to 1"),
        ({"kind": "boosting", "lambda_l2": -1.0}, "lambda_l2 is -1.0; allowed: 0 or more"),
        ({"kind": "bagging", "num_bags": 0}, "num_bags is 0; allowed: 1 or more"),
        ({"kind": "stacking", "num_folds": 1}, "num_folds is 1; allowed: 2 or more"),
        ({"kind": "stacking", "depth": 0}, "depth is 0; allowed: 1 or more"),
        (
            {"kind": "stacking", "members": [{"kind": "rrf"}, {"kind": "boosting", "num_leafs": 3}]},
            r"unknown setting fusion.members\[1\].num_leafs; did you mean num_leaves\?",
        ),
        (
            {"kind": "bagging", "base": {"kind": "boostin"}},
            r"fusion method 'boostin' is not known; did you mean boosting\?",
        ),
        (
            {"kind": "bagging", "base": {"kind": "stacking"}},
            r"setting fusion.base.kind is 'stacking'; allowed inside another method: rrf, convex",
        ),
        ({"kind": "average", "num_folds": 1}, "num_folds is 1; allowed: 2 or more"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_method_config(values)


def test_damaged_trees_are_refused(tmp_path: Path) -> None:
    fitted("boosting").save(tmp_path)
    (tmp_path / TREES_FILE).write_text("tree\nnothing", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"trees.txt is not a model: .*. Fix: run search_fusion again"):
        open_fuser(tmp_path)


def test_trees_of_other_columns_are_refused(tmp_path: Path) -> None:
    fitted("boosting").save(tmp_path)
    header = {"kind": "boosting", "config": {"kind": "boosting"}, "retrievers": ["bm25"]}
    write_json(tmp_path / FUSION_FILE, header)
    with pytest.raises(ArtifactError, match=r"trees.txt reads other columns than this version computes"):
        open_fuser(tmp_path)


def test_a_gate_of_other_retrievers_is_refused(tmp_path: Path) -> None:
    slopes = {
        "slopes_BRF": [[[0.0]]],
        "temperature_scale_B": [1.0],
        **{name: [0.0] for name in ("mean_F", "scale_F", "low_F", "high_F")},
    }
    spec = {"kind": "convex", "weights": {"bm25": 1.0}}
    header = {"kind": "gate", "config": {"kind": "gate"}, "spec": spec, "gate": slopes, "agreement": 1.0}
    write_json(tmp_path / FUSION_FILE, header)
    with pytest.raises(
        ArtifactError,
        match=r"is not a gate: .*the gate has slopes \(1, 1\); allowed: \(weights, predictors\), \(1, 4\)",
    ):
        open_fuser(tmp_path)


def test_a_member_that_is_not_a_base_method_is_refused(tmp_path: Path) -> None:
    fitted("bagging").save(tmp_path)
    write_json(tmp_path / MEMBERS / "0" / FUSION_FILE, {"kind": "bagging"})
    with pytest.raises(
        ArtifactError,
        match=r"members/0/fusion.json is of kind 'bagging'; allowed: rrf, .*, boosting. Fix: run search_fusion again",
    ):
        open_fuser(tmp_path)


def test_the_saved_config_of_a_stack_is_read_back(tmp_path: Path) -> None:
    config = small_config("stacking")
    fit_fuser(config, training_data("train"), training_data("validation"), seed=1).save(tmp_path)
    opened = open_fuser(tmp_path)
    assert isinstance(opened, StackedFuser)
    assert opened.config == config == build(StackingConfig, {"kind": "stacking", **_values(config)})


def _values(config: Any) -> dict[str, Any]:
    return {"num_folds": config.num_folds, "members": config.members}
