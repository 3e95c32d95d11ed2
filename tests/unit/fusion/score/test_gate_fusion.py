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


def judged(rng: np.random.Generator, *, told: bool) -> tuple[Candidates, np.ndarray]:
    """Words are right for half of the queries, titles for the others; bm25's height is 40 where it is right and 8 elsewhere, if told."""
    words_are_right = bool(rng.random() < 0.5)
    known_CR = rng.normal(size=(NUM_CANDIDATES, 2))
    height = (40.0 if words_are_right else 8.0) if told else 20.0
    scores_CR = np.column_stack([height + known_CR[:, 0], 0.3 + 0.1 * known_CR[:, 1]]).astype(np.float32)
    right_C = known_CR[:, 0 if words_are_right else 1] + 0.3 * rng.normal(size=NUM_CANDIDATES)
    found = Candidates(
        release_id=ReleaseId("r-1"),
        rows_C=np.arange(NUM_CANDIDATES, dtype=np.int64),
        retrievers=("bm25", "text"),
        scores_CR=scores_CR,
        ranks_CR=(1 + np.argsort(np.argsort(-scores_CR, axis=0), axis=0)).astype(np.int32),
        views_C=np.zeros(NUM_CANDIDATES, np.int32),
    )
    return found, np.where(right_C >= np.sort(right_C)[-3], 2.0, 0.0)


def training_data_of(seed: int, num: int, *, told: bool) -> FusionTrainingData:
    rng = np.random.default_rng(seed)
    made = [judged(rng, told=told) for _ in range(num)]
    grades = [each for _, each in made]
    return FusionTrainingData(
        query_ids=tuple(f"{seed}-{number}" for number in range(num)),
        candidates=[found for found, _ in made],
        grades=grades,
        judged=grades,
    )


@pytest.fixture(scope="module")
def gated() -> GatedFuser:
    return fit_gate(CONFIG, training_data_of(1, 120, told=True), training_data_of(2, 30, told=True), seed=5)


def test_a_gate_that_can_tell_beats_the_common_weights_on_new_queries(gated: GatedFuser) -> None:
    assert gated.gate is not None
    new = PackedTrainingData.of(training_data_of(3, 100, told=True))
    own, common = (new.mean_ndcg(fuser.fuse_batch(new.batch), 10) for fuser in (gated, SpecFuser(gated.spec)))
    assert own > common + 0.1


def test_words_weigh_more_where_words_are_right(gated: GatedFuser) -> None:
    rng = np.random.default_rng(4)
    several = [judged(rng, told=True)[0] for _ in range(20)]
    own_G, weights_RG = gated.predicted_weights(pack(several))
    words_G = np.array([float(one.scores_CR[:, 0].max()) > 20 for one in several])
    assert own_G.mean() > 0.5
    assert weights_RG[0, own_G & words_G].min() > weights_RG[0, own_G & ~words_G].max()
    assert weights_RG.sum(axis=0) == pytest.approx(np.ones(20))


def test_where_nothing_tells_every_query_has_the_common_weights() -> None:
    fuser = fit_gate(CONFIG, training_data_of(1, 120, told=False), training_data_of(2, 30, told=False), seed=5)
    assert fuser.gate is None
    for one in training_data_of(3, 10, told=False).candidates:
        assert bits(fuser, one) == bits(SpecFuser(fuser.spec), one)


@pytest.mark.parametrize("num", [1, 2, 5])
def test_a_handful_of_queries_teaches_no_gate(num: int) -> None:
    fuser = fit_gate(CONFIG, training_data_of(1, num, told=True), training_data_of(2, 5, told=True), seed=5)
    assert fuser.gate is None


def test_a_query_unlike_all_train_queries_has_the_common_weights(gated: GatedFuser) -> None:
    one = training_data_of(3, 1, told=True).candidates[0]
    scores_CR = one.scores_CR.copy()
    scores_CR[:, 0] += 1000.0  # min_max forgets it, the gate's facts do not
    strange = replace(one, scores_CR=scores_CR)
    assert not gated.predicted_weights(pack([strange]))[0].any()
    assert bits(gated, strange) == bits(SpecFuser(gated.spec), strange)


def test_facts_of_a_query_by_hand() -> None:
    one = candidates(
        {"bm25": [9.0, 5.0, 1.0], "text": [0.1, 0.2, 0.3], "image": [NAN, NAN, NAN]},
        {"bm25": [1, 2, 3], "text": [0, 0, 1], "image": [0, 0, 0]},
    )
    facts = dict(zip(predictor_names(one.retrievers), query_predictors(pack([one]))[0].tolist(), strict=True))
    peak = 0.5 + (9 - 5) / np.sqrt(32 / 3) / 6
    assert facts == pytest.approx(
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


def bits(fuser: GatedFuser | SpecFuser, one: Candidates) -> bytes:
    fused = fuser.fuse(one)
    assert fused.fused_C is not None
    return fused.fused_C.tobytes()
