"""The ranking example of LightGBM, fitted by our workers.

The test of LightGBM requires ndcg@1 > 0.5674 and ndcg@3 > 0.578 on its test set.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from intarsia.onray.ranker_training import RankerWorkersConfig, fit_on_workers
from intarsia.ranking.lambdamart import LambdaMartConfig
from intarsia.ranking.lightgbm_ranker import LightGbmRanker
from intarsia.ranking.rows import RankingRows
from intarsia.records.feature_matrix import FeatureMatrix

NUM_FEATURES = 301  # numbered from 0 in the files
GAINS = (0.0, 1.0, 3.0, 7.0, 15.0)  # of the example: 2^grade - 1

UPSTREAM = LambdaMartConfig(  # the example's train.conf
    num_rounds=100,
    early_stopping_rounds=0,
    learning_rate=0.1,
    num_leaves=31,
    min_data_in_leaf=50,
    min_sum_hessian_in_leaf=5.0,
    lambda_l2=0.0,
    feature_fraction=1.0,
    bagging_fraction=0.9,
    max_bin=255,
    truncation_level=30,
    label_gain=GAINS,
    pointwise_share=0.0,
)


def read(folder: Path, name: str) -> RankingRows:
    labels: list[int] = []
    values: list[np.ndarray] = []
    for line in (folder / name).read_text(encoding="ascii").splitlines():
        label, *pairs = line.split()
        row = np.zeros(NUM_FEATURES, np.float32)
        for pair in pairs:
            index, _, value = pair.partition(":")
            row[int(index)] = float(value)
        labels.append(int(label))
        values.append(row)
    sizes = [int(size) for size in (folder / f"{name}.query").read_text(encoding="ascii").split()]
    return RankingRows(
        values_nF=np.stack(values),
        labels_n=np.array(labels, np.int32),
        weights_n=np.ones(len(labels), np.float32),
        offsets_G=np.cumsum([0, *sizes]).astype(np.int64),
        feature_names=tuple(f"f{n}" for n in range(NUM_FEATURES)),
    )


def ndcg_as_upstream(rows: RankingRows, scores_n: np.ndarray, k: int) -> float:
    """Mean over queries of DCG / ideal DCG of the first k; a query without a positive counts 1, as in LightGBM."""
    per_query = []
    for start, stop in zip(rows.offsets_G[:-1], rows.offsets_G[1:], strict=True):
        gains = np.array(GAINS)[rows.labels_n[start:stop]]
        discounts = 1.0 / np.log2(np.arange(2, min(k, len(gains)) + 2))
        ranked = gains[np.argsort(-scores_n[start:stop], kind="stable")][:k]
        ideal = np.sort(gains)[::-1][:k]
        per_query.append(ranked @ discounts / (ideal @ discounts) if ideal[0] > 0 else 1.0)
    return float(np.mean(per_query))


@pytest.mark.usefixtures("cluster")
def test_two_workers_reach_the_ndcg_required_by_lightgbm(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "lightgbm_lambdarank"
    train, test = read(folder, "rank.train"), read(folder, "rank.test")
    trained = fit_on_workers(train, test, [UPSTREAM], RankerWorkersConfig(num_workers=2), tmp_path)[0]
    assert len(set(trained.trees_sha256_by_rank)) == 1
    ranker = LightGbmRanker(trained.fit.model, train.feature_names, "upstream")
    values = FeatureMatrix(
        values_nF=test.values_nF.astype(np.float32), names=train.feature_names, fingerprint="upstream"
    )
    scores = ranker.score(values)
    assert ndcg_as_upstream(test, scores, 10) == pytest.approx(trained.fit.validation_ndcg, abs=1e-4)
    assert ndcg_as_upstream(test, scores, 1) > 0.5674
    assert ndcg_as_upstream(test, scores, 3) > 0.578
