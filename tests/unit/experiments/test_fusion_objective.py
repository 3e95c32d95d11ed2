from __future__ import annotations

import itertools

import numpy as np
import pytest

from intarsia.evaluation.metrics import ndcg_at_k
from intarsia.evaluation.qrels import GradedOrders, Qrels, grade_orders
from intarsia.experiments.fusion_objective import shrink_to_uniform, weigh_by_kind
from intarsia.fusion.fuser import fuse_batch, query_kinds
from intarsia.fusion.spec import FusionSpec
from intarsia.maths.ndcg import mean_known
from intarsia.records.candidates import best_first
from tests.fusion_tasks import NUM_RELEVANT, RETRIEVERS, task

CONVEX = FusionSpec(kind="convex", normaliser="z", weights=dict.fromkeys(RETRIEVERS, 1.0))


def test_packed_ndcg_equals_ndcg_of_the_fused_order() -> None:
    judged = task(1, num_queries=6)
    fused = fuse_batch(CONVEX, judged.batch)
    offsets = fused.batch.groups.offsets
    expected = []
    for query, (start, end) in enumerate(itertools.pairwise(offsets)):
        rows_C = fused.batch.rows_n[start:end]
        order = rows_C[best_first(fused.fused_n[start:end], rows_C)]
        grades_C = judged.grades_n[start:end]  # no candidate was dropped
        relevant = np.flatnonzero(grades_C > 0).astype(np.int64)
        graded: GradedOrders = grade_orders([order], [Qrels(rows_J=relevant, grades_J=grades_C[relevant])], 10)
        expected.append(ndcg_at_k(graded, 10)[0])
        assert (judged.judged_QJ[query] > 0).sum() == NUM_RELEVANT
    assert judged.ndcg(CONVEX, 10).tolist() == expected


def test_a_single_retriever_scores_0_on_queries_it_cannot_read() -> None:
    judged = task(1, num_queries=30)
    values_Q = judged.only_retriever("bm25").ndcg(FusionSpec(kind="equal"), 10)
    kinds_Q = query_kinds(judged.batch)
    assert not values_Q[kinds_Q == "image"].any()
    assert values_Q[kinds_Q == "text"].min() > 0


def test_queries_of_a_kind_have_the_same_ndcg_as_among_all() -> None:
    judged = task(1, num_queries=30)
    kinds_Q = query_kinds(judged.batch)
    assert judged.of_kind("both").ndcg(CONVEX, 10).tolist() == judged.ndcg(CONVEX, 10)[kinds_Q == "both"].tolist()


@pytest.mark.parametrize("kind", ["equal", "convex"])
def test_each_kind_of_query_gets_its_best_weights(kind: str) -> None:
    truth = {"text": (1.0, 0.0, 0.0), "image": (0.0, 0.0, 1.0), "both": (0.0, 0.5, 0.5)}
    judged = task(3, true_weights=truth)  # type: ignore[arg-type]
    spec = FusionSpec(kind="equal", normaliser="z") if kind == "equal" else CONVEX
    weighted = weigh_by_kind(spec, judged, k=10, num_steps=4, min_queries=20)
    assert weighted.kind == "convex"
    assert {k: dict(weights) for k, weights in weighted.weights_by_kind.items()} == {
        "text": {"bm25": 1.0, "text": 0.0, "image": 0.0},
        "both": {"bm25": 0.0, "text": 0.5, "image": 0.5},
    }
    assert mean_known(judged.ndcg(weighted, 10)) > 0.95 > mean_known(judged.ndcg(spec, 10))


def test_a_kind_with_few_queries_keeps_the_common_weights() -> None:
    assert weigh_by_kind(CONVEX, task(3), k=10, num_steps=4, min_queries=31) == CONVEX


def test_the_mean_without_values_is_nan() -> None:
    assert np.isnan(mean_known(np.array([np.nan])))
    assert mean_known(np.array([np.nan, 0.5])) == 0.5


def test_weights_shrink_to_equal_as_far_as_the_loss_allows() -> None:
    judged = task(3, true_weights=dict.fromkeys(("text", "image", "both"), (1.0, 0.3, 0.0)))
    spec = FusionSpec(kind="convex", normaliser="z", weights={"bm25": 4.0, "text": 1.0, "image": 0.0})
    before = mean_known(judged.ndcg(spec, 10))
    shares, means = [], []
    for max_loss in (0.0, 0.1, 0.5, 1_000.0):
        shrunk = shrink_to_uniform(spec, [judged, judged], k=10, max_loss=max_loss)
        assert shrunk.normaliser == "z"
        shares.append(shrunk.weights["bm25"] / sum(shrunk.weights.values()))
        means.append(mean_known(judged.ndcg(shrunk, 10)))
        assert 1 - means[-1] <= (1 - before) * (1 + max_loss) + 1e-12
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.5
    assert shares[-1] == pytest.approx(1 / 3)


@pytest.mark.parametrize("spec", [FusionSpec(kind="equal"), FusionSpec(kind="rrf")])
def test_equal_weights_do_not_change(spec: FusionSpec) -> None:
    assert shrink_to_uniform(spec, [task(3)], k=10, max_loss=1.0) == spec
