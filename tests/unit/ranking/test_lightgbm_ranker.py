"""The ranker that serves: row independence, feature identity, contributions and saving; and the fit of its model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from intarsia.config import build
from intarsia.errors import ArtifactError, ConfigError, DataError, ReleaseMismatch
from intarsia.ids import sha256_bytes
from intarsia.ranking.lambdamart import LambdaMartConfig, RankerFit, fit_lambdamart
from intarsia.ranking.lightgbm_ranker import (
    RANKER_HEADER,
    LightGbmRanker,
    RankerModel,
    WeightedTrees,
    save_ranker,
)
from intarsia.ranking.linear import InitScore, LinearModel
from intarsia.ranking.rows import RankingRows, spread_within, weighted_mean_ndcg
from intarsia.records.feature_matrix import FeatureMatrix
from tests.graded_rows import graded_rows

NAMES = ("useful", "noise", "other")
FUSED_NAMES = ("useful", "noise", "fused_z")
SMALL = LambdaMartConfig(num_rounds=30, early_stopping_rounds=10, min_data_in_leaf=5, lambda_l2=0.0)


def drawn(seed: int, num_queries: int = 40) -> RankingRows:
    """With missing values in every feature."""
    rng = np.random.default_rng(seed)
    rows = graded_rows(rng, NAMES, num_queries=num_queries)
    rows.values_nF[rng.random(rows.values_nF.shape) < 0.1] = np.nan
    return rows


def fused_rows(seed: int) -> RankingRows:
    return replace(drawn(seed), feature_names=FUSED_NAMES)


@pytest.fixture(scope="module")
def fit() -> RankerFit:
    return fit_lambdamart(drawn(1), drawn(2), [SMALL])[0]


@pytest.fixture(scope="module")
def ranker(fit: RankerFit) -> LightGbmRanker:
    return LightGbmRanker(fit.model, NAMES, "features-1")


def matrix(rows: RankingRows, fingerprint: str = "features-1", names: tuple[str, ...] = NAMES) -> FeatureMatrix:
    return FeatureMatrix(values_nF=rows.values_nF.astype(np.float32), names=names, fingerprint=fingerprint)


def predicted(trees: WeightedTrees, rows: RankingRows, **options: bool) -> np.ndarray:
    return np.asarray(lightgbm.Booster(model_str=trees.text).predict(rows.values_nF, raw_score=True, **options))


def test_it_learns_the_feature_that_predicts_the_grade(fit: RankerFit, ranker: LightGbmRanker) -> None:
    assert min(fit.validation_ndcg, max(fit.curve)) > 0.8
    shares = ranker.importances()
    assert next(iter(shares)) == "useful"
    assert sum(shares.values()) == pytest.approx(1)
    unseen = drawn(3)
    assert np.corrcoef(ranker.score(matrix(unseen)), unseen.labels_n)[0, 1] > 0.6


def test_without_pointwise_trees_the_metric_is_that_of_lightgbm(fit: RankerFit) -> None:
    pairwise = fit_lambdamart(drawn(1), drawn(2), [replace(SMALL, pointwise_share=0.0)])[0]
    assert pairwise.curve == fit.curve
    assert len(pairwise.model.trees) == 1
    assert (pairwise.pointwise_trees, pairwise.validation_ndcg) == (0, pytest.approx(max(pairwise.curve)))


def test_each_model_has_its_share_of_the_spread(fit: RankerFit) -> None:
    rows = drawn(2)
    pairwise, pointwise = fit.model.trees
    num_trees = [lightgbm.Booster(model_str=part.text).num_trees() for part in (pairwise, pointwise)]
    assert num_trees == [fit.best_iteration, fit.pointwise_trees]
    assert fit.model.num_trees == sum(num_trees)
    pairwise_n, pointwise_n = predicted(pairwise, rows), pointwise.weight * predicted(pointwise, rows)
    assert spread_within(pointwise_n, rows) == pytest.approx(spread_within(pairwise_n, rows), rel=1e-4)
    third = fit_lambdamart(drawn(1), rows, [replace(SMALL, pointwise_share=1 / 3)])[0]
    assert np.allclose(third.model.scores(rows.values_nF, NAMES), pairwise_n + pointwise_n / 2, atol=1e-5)


def test_scores_and_contributions_are_weighted_sums(fit: RankerFit, ranker: LightGbmRanker) -> None:
    rows = drawn(5)
    pairwise, pointwise = fit.model.trees
    assert (pairwise.weight, pointwise.weight != 1.0) == (1.0, True)
    expected_n = predicted(pairwise, rows) + pointwise.weight * predicted(pointwise, rows)
    assert np.allclose(ranker.score(matrix(rows)), expected_n, rtol=1e-6, atol=1e-7)
    expected_nF = predicted(pairwise, rows, pred_contrib=True)
    expected_nF = expected_nF + pointwise.weight * predicted(pointwise, rows, pred_contrib=True)
    assert np.allclose(ranker.contributions(matrix(rows)), expected_nF, rtol=0, atol=1e-12)


def test_importances_are_the_mean_of_each_models_shares(fit: RankerFit, ranker: LightGbmRanker) -> None:
    gains = [lightgbm.Booster(model_str=part.text).feature_importance("gain") for part in fit.model.trees]
    expected = np.mean([gain / gain.sum() for gain in gains], axis=0)
    assert ranker.importances() == pytest.approx(dict(zip(NAMES, expected, strict=True)))


def test_models_add_up_to_weighted_sums(fit: RankerFit) -> None:
    values = drawn(4).values_nF
    total_n = fit.model.plus(fit.model, 0.37).scores(values, NAMES)
    assert np.allclose(total_n, 1.37 * fit.model.scores(values, NAMES), atol=1e-12)


def test_features_without_a_split_leave_equal_scores_and_no_importance() -> None:
    constant = replace(drawn(1), values_nF=np.zeros((480, 3), np.float32))
    ranker = LightGbmRanker(fit_lambdamart(constant, drawn(2), [SMALL])[0].model, NAMES, "features-1")
    assert len(np.unique(ranker.score(matrix(drawn(2))))) == 1
    assert set(ranker.importances().values()) == {0.0}


def test_equal_inputs_give_equal_trees(fit: RankerFit) -> None:
    repeated = fit_lambdamart(drawn(1), drawn(2), [SMALL, SMALL])
    assert repeated == [fit, fit]
    assert {other.model.trees_sha256 for other in repeated} == {fit.model.trees_sha256}
    assert not any("machines" in part.text for part in fit.model.trees)


def test_a_fit_survives_json(fit: RankerFit) -> None:
    assert RankerFit.from_jsonable(json.loads(json.dumps(fit.to_jsonable()))) == fit
    linear = LinearModel(means_F=(1.0,), limits_F=(2.0,), slopes_F=(3.0,), missing_F=(0.1,))
    model = RankerModel(trees=fit.model.trees, init_score=InitScore(prior_weight=0.3, linear=linear))
    with_linear = replace(fit, model=model)
    assert RankerFit.from_jsonable(json.loads(json.dumps(with_linear.to_jsonable()))) == with_linear


def test_the_score_of_a_row_does_not_depend_on_its_batch(ranker: LightGbmRanker) -> None:
    whole = matrix(drawn(4))
    scores = ranker.score(whole)
    assert scores.dtype == np.float32
    order = np.random.default_rng(0).permutation(len(scores))
    permuted = FeatureMatrix(values_nF=whole.values_nF[order].copy(), names=NAMES, fingerprint="features-1")
    assert ranker.score(permuted).tobytes() == scores[order].tobytes()
    for n in (0, 7, 101):
        single = FeatureMatrix(values_nF=whole.values_nF[n : n + 1].copy(), names=NAMES, fingerprint="features-1")
        assert ranker.score(single).tobytes() == scores[n : n + 1].tobytes()


def test_contributions_sum_to_the_score(ranker: LightGbmRanker) -> None:
    features = matrix(drawn(5))
    parts, scores = ranker.contributions(features), ranker.score(features).astype(np.float64)
    assert parts.shape == (len(scores), len(NAMES) + 1)
    assert np.all(np.abs(parts.sum(axis=1) - scores) <= 1e-6 * np.maximum(1, np.abs(scores)))


def test_a_matrix_without_rows_is_scored(ranker: LightGbmRanker) -> None:
    empty = FeatureMatrix(values_nF=np.empty((0, 3), np.float32), names=NAMES, fingerprint="features-1")
    assert ranker.score(empty).shape == (0,)
    assert ranker.contributions(empty).shape == (0, 4)


def test_a_matrix_of_other_features_is_refused(ranker: LightGbmRanker) -> None:
    with pytest.raises(ReleaseMismatch, match="the features are features-2, the ranker was trained on features-1"):
        ranker.score(matrix(drawn(1), fingerprint="features-2"))
    with pytest.raises(ReleaseMismatch, match="the matrix has features noise, useful, other, the ranker reads useful"):
        ranker.contributions(matrix(drawn(1), names=("noise", "useful", "other")))


def test_it_is_the_same_after_saving(fit: RankerFit, ranker: LightGbmRanker, tmp_path: Path) -> None:
    save_ranker(tmp_path, fit.model, NAMES, "features-1", {"note": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.txt", "pointwise.txt", "ranker.json"]
    opened = LightGbmRanker.open(tmp_path, feature_fingerprint="features-1")
    assert (opened.feature_fingerprint, opened.feature_names) == ("features-1", NAMES)
    assert opened.score(matrix(drawn(6))).tobytes() == ranker.score(matrix(drawn(6))).tobytes()
    with pytest.raises(ReleaseMismatch, match=r"Fix: run build_training_rows and train_ranker again"):
        LightGbmRanker.open(tmp_path, feature_fingerprint="features-2")


@pytest.mark.parametrize("format", [2, 3])
def test_an_artefact_of_an_older_format_is_read(format: int, tmp_path: Path) -> None:
    rows, linear = (
        fused_rows(2),
        LinearModel(means_F=(0.0,) * 3, limits_F=(9.0,) * 3, slopes_F=(1.0, 0.0, 0.0), missing_F=(0.0,) * 3),
    )
    fit = fit_lambdamart(fused_rows(1), rows, [replace(SMALL, pointwise_share=0.0)])[0]
    header = {"format": format, "feature_names": FUSED_NAMES, "feature_fingerprint": "features-1", "prior_weight": 0.25}
    if format == 3:
        header["linear"] = linear.to_jsonable()
    text = fit.model.trees[0].text
    header["model_sha256"] = sha256_bytes(text.encode())
    (tmp_path / "model.txt").write_text(text, encoding="utf-8")
    (tmp_path / RANKER_HEADER).write_text(json.dumps(header), encoding="utf-8")
    init_score = InitScore(prior_weight=0.25, linear=linear if format == 3 else None)
    expected = RankerModel(trees=fit.model.trees, init_score=init_score).scores(rows.values_nF, FUSED_NAMES)
    scores = LightGbmRanker.open(tmp_path).score(matrix(rows, names=FUSED_NAMES))
    assert scores.tobytes() == expected.astype(np.float32).tobytes()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_init_score_is_part_of_score_and_contributions(share: float, tmp_path: Path) -> None:
    config = replace(SMALL, prior_weight=0.5, pointwise_share=share)
    fit = fit_lambdamart(fused_rows(1), fused_rows(2), [config])[0]
    prior_weight = fit.model.init_score.prior_weight
    assert (prior_weight == 0.5) == (share == 0), "pointwise trees add their own slope"
    only_trees = LightGbmRanker(RankerModel(trees=fit.model.trees), FUSED_NAMES, "features-1")
    save_ranker(tmp_path, fit.model, FUSED_NAMES, "features-1", {})
    ranker = LightGbmRanker.open(tmp_path)
    features = matrix(fused_rows(3), names=FUSED_NAMES)
    fused_n = np.nan_to_num(features.values_nF[:, 2].astype(np.float64))  # a missing fused score counts as 0
    assert np.allclose(ranker.score(features), only_trees.score(features) + prior_weight * fused_n, atol=1e-6)
    assert np.allclose(ranker.contributions(features).sum(axis=1), ranker.score(features), atol=1e-5)
    assert fit.model.trees != fit_lambdamart(fused_rows(1), fused_rows(2), [SMALL])[0].model.trees
    validation = fused_rows(2)
    ndcg = weighted_mean_ndcg(ranker.score(matrix(validation, names=FUSED_NAMES)), validation, config.label_gain)
    assert ndcg == pytest.approx(fit.validation_ndcg), "the reported figure is that of the saved model"


def test_a_good_prior_improves_the_first_tree() -> None:
    """The fused score predicts the grade here."""
    names = ("fused_z", "noise", "other")
    train, validation = (replace(drawn(seed), feature_names=names) for seed in (1, 2))
    with_prior, without = (
        fit_lambdamart(train, validation, [replace(SMALL, num_rounds=1, prior_weight=weight)])[0]
        for weight in (10.0, 0.0)
    )
    assert with_prior.curve[0] > without.curve[0]


def test_the_prior_is_unused_without_a_fused_score(fit: RankerFit) -> None:
    features = matrix(drawn(7))
    with_prior, without = (
        RankerModel(trees=fit.model.trees, init_score=InitScore(prior_weight=weight)) for weight in (0.5, 0.0)
    )
    scores = [LightGbmRanker(model, NAMES, "features-1").score(features).tobytes() for model in (with_prior, without)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("name", ["model.txt", "pointwise.txt"])
def test_a_changed_model_file_is_refused(fit: RankerFit, name: str, tmp_path: Path) -> None:
    save_ranker(tmp_path, fit.model, NAMES, "features-1", {})
    (tmp_path / name).write_text((tmp_path / name).read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match=rf"{name} is not the model that ranker\.json describes"):
        LightGbmRanker.open(tmp_path)


def test_a_missing_file_or_an_unknown_format_is_refused(fit: RankerFit, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"ranker\.json is missing\. Fix: run train_ranker"):
        LightGbmRanker.open(tmp_path)
    save_ranker(tmp_path, fit.model, NAMES, "features-1", {})
    header = json.loads((tmp_path / RANKER_HEADER).read_text(encoding="utf-8"))
    (tmp_path / "pointwise.txt").unlink()
    with pytest.raises(ArtifactError, match=r"pointwise\.txt is missing\. Fix: run train_ranker"):
        LightGbmRanker.open(tmp_path)
    (tmp_path / RANKER_HEADER).write_text(json.dumps(header | {"format": 0}), encoding="utf-8")
    with pytest.raises(ArtifactError, match="has format 0, this version reads 2, 3, 4"):
        LightGbmRanker.open(tmp_path)


def test_a_model_of_other_names_is_refused(fit: RankerFit) -> None:
    with pytest.raises(ArtifactError, match="the model reads features useful, noise, other, its header names a, b, c"):
        LightGbmRanker(fit.model, ("a", "b", "c"), "x")


def test_a_grade_without_a_gain_is_refused() -> None:
    config = LambdaMartConfig(label_gain=(0.0, 1.0))
    with pytest.raises(DataError, match=r"label is 3; allowed: 0\.\.1\. Fix: give label_gain one gain per grade"):
        fit_lambdamart(drawn(1), drawn(2), [config])


def test_a_split_without_informative_queries_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"no validation query with two different labels.*judge more validation queries"
    ):
        fit_lambdamart(drawn(1), drawn(2).of_queries([]), [SMALL])


def test_without_early_stopping_every_tree_is_kept() -> None:
    fit = fit_lambdamart(drawn(1), drawn(2), [LambdaMartConfig(num_rounds=4, early_stopping_rounds=0)])[0]
    assert fit.best_iteration == len(fit.curve) == 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_rounds": 0}, "num_rounds is 0; allowed: 1 or more"),
        ({"num_leaves": 1}, "num_leaves is 1 and max_bin 127; allowed: 2 or more"),
        ({"feature_fraction": 0.0}, r"feature_fraction is 0\.0; allowed: above 0, at most 1"),
        ({"pointwise_rounds": 0}, "pointwise_rounds is 0; allowed: 1 or more"),
        ({"pointwise_learning_rate": 0.0}, r"pointwise_learning_rate is 0\.0; allowed: above 0, at most 1"),
        ({"pointwise_share": 1.0}, r"pointwise_share is 1\.0; allowed: 0 or more, below 1"),
        ({"lambda_l2": -1.0}, r"lambda_l2 is -1\.0; allowed: 0 or more"),
        ({"label_gain": [0.0, 1.0, 1.0]}, "label_gain is .*; allowed: two or more, rising"),
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(LambdaMartConfig, wrong)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is damaged: it is not JSON"),
        ('{"format": 4', "is damaged: it is not JSON"),
        ("[]", "is damaged: it is not a JSON object with format"),
        ('{"format": 4}', "is damaged: 'models'"),
        ('{"format": 4, "models": 3, "prior_weight": 0}', "is damaged: 'int' object is not iterable"),
    ],
)
def test_a_damaged_header_is_refused_by_name(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / RANKER_HEADER).write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match=rf"ranker\.json {words}.*Fix: run train_ranker again"):
        LightGbmRanker.open(tmp_path)


def test_a_torn_second_model_is_refused_by_name(fit: RankerFit, tmp_path: Path) -> None:
    save_ranker(tmp_path, fit.model, NAMES, "features-1", {})
    content = (tmp_path / "pointwise.txt").read_bytes()
    for torn in (b"", content[: len(content) // 2], b"\xff" + content):
        (tmp_path / "pointwise.txt").write_bytes(torn)
        with pytest.raises(ArtifactError, match=r"pointwise\.txt is not the model that ranker\.json describes"):
            LightGbmRanker.open(tmp_path)


def test_a_second_model_of_other_names_is_refused(fit: RankerFit) -> None:
    first, second = fit.model.trees
    renamed = replace(second, text=second.text.replace("feature_names=useful noise other", "feature_names=x y z"))
    with pytest.raises(ArtifactError, match="the model reads features x, y, z, its header names useful, noise, other"):
        LightGbmRanker(replace(fit.model, trees=(first, renamed)), NAMES, "x")
