from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intarsia.fusion.batch import pack
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.protocol import FusionTrainingData
from intarsia.fusion.score.gate import GateConfig, GatedFuser, fit_gate, predictor_names, query_predictors
from intarsia.fusion.score.weighted import WeightedConfig
from intarsia.fusion.training_data import PackedTrainingData
from intarsia.ids import ReleaseId
from intarsia.records.candidates import Candidates
from tests.unit.fusion.test_fuser import candidates

NUM_CANDIDATES = 30
CONFIG = GateConfig(common=WeightedConfig(normalisers=("min_max",)), num_fits=6)
NAN = float("nan")


def judged(rng: np.random.Generator, *, informative: bool) -> tuple[Candidates, np.ndarray]:
    """bm25 is right for half of the queries, text for the others. If informative, bm25's best score is 40 or 8."""
    bm25_is_right = bool(rng.random() < 0.5)
    known_CR = rng.normal(size=(NUM_CANDIDATES, 2))
    height = (40.0 if bm25_is_right else 8.0) if informative else 20.0
    scores_CR = np.column_stack([height + known_CR[:, 0], 0.3 + 0.1 * known_CR[:, 1]]).astype(np.float32)
    right_C = known_CR[:, 0 if bm25_is_right else 1] + 0.3 * rng.normal(size=NUM_CANDIDATES)
    query_candidates = Candidates(
        release_id=ReleaseId("r-1"),
        rows_C=np.arange(NUM_CANDIDATES, dtype=np.int64),
        retrievers=("bm25", "text"),
        scores_CR=scores_CR,
        ranks_CR=(1 + np.argsort(np.argsort(-scores_CR, axis=0), axis=0)).astype(np.int32),
        views_C=np.zeros(NUM_CANDIDATES, np.int32),
    )
    return query_candidates, np.where(right_C >= np.sort(right_C)[-3], 2.0, 0.0)


def training_data_of(seed: int, num: int, *, informative: bool) -> FusionTrainingData:
    rng = np.random.default_rng(seed)
    queries = [judged(rng, informative=informative) for _ in range(num)]
    grades = [query_grades for _, query_grades in queries]
    return FusionTrainingData(
        query_ids=tuple(f"{seed}-{number}" for number in range(num)),
        candidates=[query_candidates for query_candidates, _ in queries],
        grades=grades,
        judged=grades,
    )


@pytest.fixture(scope="module")
def gated() -> GatedFuser:
    return fit_gate(
        CONFIG, training_data_of(1, 120, informative=True), training_data_of(2, 30, informative=True), seed=5
    )


def test_an_informed_gate_beats_the_common_weights_on_new_queries(gated: GatedFuser) -> None:
    assert gated.gate is not None
    new = PackedTrainingData.of(training_data_of(3, 100, informative=True))
    own, common = (new.mean_ndcg(fuser.fuse_batch(new.batch), 10) for fuser in (gated, SpecFuser(gated.spec)))
    assert own > common + 0.1


def test_bm25_has_more_weight_where_it_is_right(gated: GatedFuser) -> None:
    rng = np.random.default_rng(4)
    queries = [judged(rng, informative=True)[0] for _ in range(20)]
    confident_G, weights_RG = gated.predicted_weights(pack(queries))
    bm25_right_G = np.array([float(query_candidates.scores_CR[:, 0].max()) > 20 for query_candidates in queries])
    assert confident_G.mean() > 0.5
    assert weights_RG[0, confident_G & bm25_right_G].min() > weights_RG[0, confident_G & ~bm25_right_G].max()
    assert weights_RG.sum(axis=0) == pytest.approx(np.ones(20))


def test_without_informative_scores_no_gate_is_fitted() -> None:
    fuser = fit_gate(
        CONFIG, training_data_of(1, 120, informative=False), training_data_of(2, 30, informative=False), seed=5
    )
    assert fuser.gate is None
    for query_candidates in training_data_of(3, 10, informative=False).candidates:
        assert score_bytes(fuser, query_candidates) == score_bytes(SpecFuser(fuser.spec), query_candidates)


@pytest.mark.parametrize("num", [1, 2, 5])
def test_few_queries_give_no_gate(num: int) -> None:
    fuser = fit_gate(
        CONFIG, training_data_of(1, num, informative=True), training_data_of(2, 5, informative=True), seed=5
    )
    assert fuser.gate is None


def test_a_query_out_of_the_train_range_has_the_common_weights(gated: GatedFuser) -> None:
    query_candidates = training_data_of(3, 1, informative=True).candidates[0]
    scores_CR = query_candidates.scores_CR.copy()
    scores_CR[:, 0] += 1000.0  # min_max removes it, the gate's predictors do not
    outlier = replace(query_candidates, scores_CR=scores_CR)
    assert not gated.predicted_weights(pack([outlier]))[0].any()
    assert score_bytes(gated, outlier) == score_bytes(SpecFuser(gated.spec), outlier)


def test_the_predictors_of_a_query_by_hand() -> None:
    query_candidates = candidates(
        {"bm25": [9.0, 5.0, 1.0], "text": [0.1, 0.2, 0.3], "image": [NAN, NAN, NAN]},
        {"bm25": [1, 2, 3], "text": [0, 0, 1], "image": [0, 0, 0]},
    )
    predictors = dict(
        zip(
            predictor_names(query_candidates.retrievers),
            query_predictors(pack([query_candidates]))[0].tolist(),
            strict=True,
        )
    )
    peak = 0.5 + (9 - 5) / np.sqrt(32 / 3) / 6
    assert predictors == pytest.approx(
        {
            "bm25_scores_any": 1.0,
            "text_scores_any": 1.0,
            "image_scores_any": 0.0,
            "bm25_best": 9.0,
            "text_best": np.float32(0.3),
            "image_best": NAN,
            "bm25_peak": peak,
            "text_peak": peak,
            "image_peak": NAN,
            "bm25_overlap": 1 / 3,
            "text_overlap": 1.0,
            "image_overlap": NAN,
        },
        nan_ok=True,
    )


def score_bytes(fuser: GatedFuser | SpecFuser, query_candidates: Candidates) -> bytes:
    fused = fuser.fuse(query_candidates)
    assert fused.fused_C is not None
    return fused.fused_C.tobytes()
