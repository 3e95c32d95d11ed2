"""The job train_ranker and its fit on several workers."""

from __future__ import annotations

import json
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from intarsia.config import build
from intarsia.errors import ConfigError
from intarsia.features.labelled_rows import training_rows
from intarsia.ids import ProductId, QueryId
from intarsia.lake import Lake, write_json
from intarsia.onray.ranker_training import RankerWorkersConfig, check_equal_trees, fit_on_workers
from intarsia.ranking.lambdamart import LambdaMartConfig, fit_init_score, fit_lambdamart
from intarsia.ranking.lightgbm_ranker import LightGbmRanker
from intarsia.ranking.rows import RankingRows, pack_queries, read_rows, weighted_mean_ndcg
from intarsia.records.feature_matrix import FeatureMatrix
from intarsia.records.judgment import JudgedQuery, Judgment
from intarsia.tables.training_rows import training_rows_spec
from pipelines.build_training_rows import FEATURES_FILE
from pipelines.train_ranker import TrainRankerConfig, run

pytestmark = pytest.mark.usefixtures("cluster")

NAMES = ("useful", "half_useful", "noise")
FINGERPRINT = "f" * 64
NUM_QUERIES, PER_QUERY = 60, 20
SMALL = LambdaMartConfig(num_rounds=25, early_stopping_rounds=8, min_data_in_leaf=5, linear_weight=0.5)


def quiet(step: str, done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def table() -> object:
    rng = np.random.default_rng(5)
    queries = [
        JudgedQuery(
            query_id=QueryId(f"q{n:03d}"),
            text="red",
            image=None,
            locale="en",
            split="validation" if n % 3 == 0 else "train",
        )
        for n in range(NUM_QUERIES)
    ]
    products = [ProductId(f"p{n:02d}") for n in range(PER_QUERY)] * NUM_QUERIES
    values = rng.normal(size=(NUM_QUERIES * PER_QUERY, 3)).astype(np.float32)
    grades = np.clip(np.round(values[:, 0] + 0.5 * values[:, 1]), 0, 3)
    judged = {
        (queries[n // PER_QUERY].query_id, products[n]): Judgment(
            query_id=queries[n // PER_QUERY].query_id, product_id=products[n], grade=float(grade)
        )
        for n, grade in enumerate(grades)
        if grade > 0
    }
    offsets = np.arange(0, len(values) + 1, PER_QUERY, dtype=np.int64)
    matrix = FeatureMatrix(values_nF=values, names=NAMES, fingerprint=FINGERPRINT)
    return training_rows(queries, matrix, offsets, products, judged, seed=1)


def publish(lake: Lake, table: object) -> None:
    with lake.publish("training_rows") as folder:
        training_rows_spec(NAMES).write_part(table, folder, 0)
        write_json(folder / FEATURES_FILE, {"fingerprint": FINGERPRINT, "names": list(NAMES)})


def test_without_judged_queries_the_fused_order_has_a_larger_weight() -> None:
    judged, synthetic = QueryId("q1"), QueryId("known-00001")
    config = TrainRankerConfig(model=SMALL, synthetic_prior_weight=3.0)
    assert config.model_for([judged, synthetic]) == SMALL
    assert config.model_for([synthetic]).prior_weight == 3.0
    assert config.model_for([synthetic]).pointwise_share == config.model_for([synthetic]).linear_weight == 0
    assert TrainRankerConfig(synthetic_prior_weight=0.0).model_for([synthetic]) == LambdaMartConfig(pointwise_share=0.0)
    with pytest.raises(ValueError, match=r"synthetic_prior_weight is -1; allowed: 0 or more"):
        TrainRankerConfig(synthetic_prior_weight=-1)


def test_every_worker_has_the_same_fitted_model(lake: Lake, table: object) -> None:
    publish(lake, table)
    summary = run(TrainRankerConfig(model=SMALL, trials=1), lake, quiet)  # type: ignore[arg-type]
    entry = lake.current("ranker")
    header = json.loads((entry.path / "ranker.json").read_text(encoding="utf-8"))

    digests = header["trees_sha256_by_rank"]
    assert len(digests) == 2
    assert len(set(digests)) == 1
    assert header["best_iteration"] + header["pointwise_trees"] == summary["trees"]
    assert header["pointwise_trees"] > 0
    assert header["validation_ndcg_at_10"] == max(t["validation_ndcg_at_10"] for t in header["trials"]) > 0.8
    assert len(header["trials"]) == 2
    assert len(header["searched"]) == 1
    assert header["searched"][0]["figures"]["ndcg"] > 0.8
    assert header["trials"][1]["model"]["num_leaves"] == header["searched"][0]["point"]["num_leaves"]
    assert len(header["models"]) == 2
    for file in header["models"]:
        assert "machines" not in (entry.path / file["file"]).read_text(encoding="utf-8")

    ranker = LightGbmRanker.open(entry.path)
    validation = read_rows(table, "validation", NAMES).informative_queries()
    scores = ranker.score(
        FeatureMatrix(values_nF=validation.values_nF.astype(np.float32), names=NAMES, fingerprint=FINGERPRINT)
    )
    assert np.corrcoef(scores, validation.labels_n)[0, 1] > 0.6
    figure = weighted_mean_ndcg(scores, validation, SMALL.label_gain)
    assert figure == pytest.approx(header["validation_ndcg_at_10"]), "the served model includes the linear ranker"
    assert not list(lake.root.glob(".fit-*")), "the results of the workers are removed"


def test_the_model_is_fitted_on_all_shards(table: object, tmp_path: Path) -> None:
    train, validation = (read_rows(table, split, NAMES) for split in ("train", "validation"))
    config = LambdaMartConfig(
        num_rounds=5, early_stopping_rounds=0, bagging_fraction=1.0, feature_fraction=1.0, linear_weight=0.5
    )
    fit, second = fit_on_workers(train, validation, [config, config], RankerWorkersConfig(num_workers=2), tmp_path)
    assert second == fit
    single_shard = {
        fit_lambdamart(train.of_queries(shard), validation, [config])[0].model.trees_sha256
        for shard in pack_queries(np.diff(train.offsets_G), 2)
    }
    assert fit.fit.model.trees_sha256 not in single_shard
    root = lightgbm.Booster(model_str=fit.fit.model.trees[0].text).dump_model()["tree_info"][0]["tree_structure"]
    assert root["internal_count"] == len(train.labels_n)
    whole = fit_init_score(train, config).linear
    fitted = fit.fit.model.init_score.linear
    assert whole is not None and fitted is not None
    assert fitted.means_F == whole.means_F, "the mean is that of all rows, not of a shard"


def test_different_trees_are_refused_by_rank() -> None:
    with pytest.raises(
        RuntimeError, match=r"different trees \(rank 0: aaaa, rank 1: bbbb\); each has fitted its own shard"
    ):
        check_equal_trees(["aaaa", "bbbb"])


def test_more_workers_than_queries_or_cpus_are_refused(table: object, tmp_path: Path) -> None:
    train: RankingRows = read_rows(table, "train", NAMES)
    few = train.of_queries([0])
    with pytest.raises(ConfigError, match="num_workers is 2 for 1 train queries"):
        fit_on_workers(few, train, [SMALL], RankerWorkersConfig(num_workers=2), tmp_path)
    with pytest.raises(ConfigError, match=r"2 workers of 100\.0 CPUs need 200, the cluster has 4"):
        fit_on_workers(train, train, [SMALL], RankerWorkersConfig(num_workers=2, cpus_per_worker=100.0), tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trials": -1}, "trials is -1; allowed: 0 or more"),
        ({"num_at_once": 0}, "num_at_once is 0; allowed: 1 or more"),
        ({"workers": {"num_workers": 0}}, "num_workers is 0; allowed: 1 or more"),
        ({"workers": {"cpus_per_worker": 0.0}}, r"cpus_per_worker is 0\.0; allowed: above 0"),
    ],
)
def test_a_setting_out_of_range_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(TrainRankerConfig, values)
