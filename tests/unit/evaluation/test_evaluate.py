from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from intarsia.errors import ConfigError
from intarsia.evaluation.evaluate import Evaluation, EvaluationConfig, evaluate_systems
from intarsia.evaluation.qrels import Qrels
from intarsia.evaluation.report import evaluation_lines, evaluation_to_jsonable
from intarsia.evaluation.slices import Slice, slices_by_value
from intarsia.ids import QueryId

NUM_QUERIES, NUM_PRODUCTS = 40, 50
CONFIG = EvaluationConfig(metrics=("ndcg@10", "recall@20"), num_resamples=500)


def measured(**changed: Any) -> Evaluation:
    """One system with the only relevant product first, one with it third; query 0 has no relevant product."""
    good = [np.array([q, 48, 49], np.int64) for q in range(NUM_QUERIES)]
    poor = [np.array([48, 49, q], np.int64) for q in range(NUM_QUERIES)]
    qrels = [Qrels(rows_J=np.array([q], np.int64), grades_J=np.array([float(q > 0)])) for q in range(NUM_QUERIES)]
    empty = Slice(group="query", name="empty", mask_Q=np.zeros(NUM_QUERIES, bool))
    values: dict[str, Any] = {
        "pairs": [("good", "poor"), ("poor", "good"), ("good", "good")],
        "slices": [*slices_by_value("locale", ["en", "zh"] * (NUM_QUERIES // 2)), empty],
        "num_products": NUM_PRODUCTS,
        "config": CONFIG,
    }
    return evaluate_systems({"good": good, "poor": poor}, qrels, **(values | changed))


def test_every_system_has_every_metric_and_its_coverage() -> None:
    evaluation = measured()
    good, poor = evaluation.systems
    assert (evaluation.num_queries, evaluation.num_without_positive) == (NUM_QUERIES, 1)
    assert good.metrics["ndcg@10"].mean == 1.0
    assert poor.metrics["ndcg@10"].mean == pytest.approx(1 / 2)  # third place: 1 / log2(4)
    assert good.metrics["ndcg@10"].num_queries == NUM_QUERIES - 1
    assert (good.metrics["recall@20"].mean, good.coverage) == (1.0, (NUM_QUERIES + 2) / NUM_PRODUCTS)


def test_every_requested_pair_has_a_verdict() -> None:
    evaluation = measured()
    assert [row.paired.verdict for row in evaluation.comparisons] == ["better", "worse", "no difference"]
    assert evaluation.paired("poor", "good").difference.mean == pytest.approx(-1 / 2)


def test_slices_compare_the_first_pair_and_skip_empty_slices() -> None:
    evaluation = measured()
    assert [(row.name, row.num_queries) for row in evaluation.slices] == [("en", 20), ("zh", 20)]
    assert all(row.paired is not None and row.paired.verdict == "better" for row in evaluation.slices)
    assert all(row.paired is None for row in measured(pairs=[]).slices)


def test_a_system_can_be_left_out_of_the_slices() -> None:
    evaluation = measured(pairs=[("good", "good")], not_in_slices=["poor"])
    assert [row.name for row in evaluation.systems] == ["good", "poor"]
    assert [list(row.systems) for row in evaluation.slices] == [["good"], ["good"]]


def test_a_pair_of_an_unmeasured_system_is_refused() -> None:
    with pytest.raises(ValueError, match=r"system best is to be compared and was not measured; measured: good, poor"):
        measured(pairs=[("good", "best")])


def test_a_system_without_an_order_for_a_query_is_refused() -> None:
    with pytest.raises(ValueError, match=r"system good has 0 orders for 1 queries"):
        evaluate_systems(
            {"good": []},
            [Qrels(rows_J=np.array([1], np.int64), grades_J=np.array([1.0]))],
            pairs=[],
            slices=[],
            num_products=1,
            config=CONFIG,
        )


def test_a_config_without_a_usable_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="metrics is empty; name at least one"):
        EvaluationConfig(metrics=())
    with pytest.raises(ConfigError, match="metric 'hits@3' is not known"):
        EvaluationConfig(metrics=("hits@3",))
    with pytest.raises(ValueError, match="coverage_k is 0, num_resamples 10000; allowed: 1 or more"):
        EvaluationConfig(coverage_k=0)


def test_an_evaluation_as_lines_and_as_json() -> None:
    evaluation = measured()
    lines = evaluation_lines(evaluation)
    assert lines[1].split() == ["good", "1.000", "[1.000,", "1.000]"]
    assert "good minus poor: +0.5000 [+0.5000, +0.5000] p < 0.001 better" in lines
    values_json = json.loads(
        json.dumps(evaluation_to_jsonable(evaluation, [QueryId(f"q{q}") for q in range(NUM_QUERIES)]))
    )
    assert (values_json["query_ids"][-1], values_json["values"]["poor"][:2]) == ("q39", [None, 0.5])
    assert values_json["systems"]["good"]["ndcg@10"]["mean"] == 1.0
    assert values_json["comparisons"][0]["verdict"] == "better"


def test_p_values_of_comparisons_are_corrected_for_all_of_them() -> None:
    qrels = [Qrels(rows_J=np.array([0], np.int64), grades_J=np.array([1.0])) for _ in range(30)]
    right, wrong = [np.array([0, 1], np.int64)] * 30, [np.array([1, 0], np.int64)] * 30
    systems = {"right": right, "same": right, "wrong": wrong}
    pairs = [("right", "wrong"), ("right", "same"), ("same", "wrong")]
    config = EvaluationConfig(metrics=("ndcg@2",), num_resamples=10)
    evaluation = evaluate_systems(systems, qrels, pairs=pairs, slices=[], num_products=2, config=config)
    assert [row.p_holm for row in evaluation.comparisons] == [3 / 10_001, 1.0, 3 / 10_001]
