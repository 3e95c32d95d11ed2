from __future__ import annotations

import pytest

from intarsia.fusion.spec import FusionSpec
from tests.unit.fusion.test_fuser import candidates, fused

NAN = float("nan")
# min_max over returned candidates: bm25 10 -> 1, 6 -> 0.5, 2 -> 0; text 0.9 -> 1, 0.5 -> 0; only text returned row 13
CANDIDATES = candidates(
    {"bm25": [10.0, 6.0, 2.0, 1.0], "text": [0.9, 0.3, 0.7, 0.5]}, {"bm25": [1, 2, 3, 0], "text": [1, 0, 2, 3]}
)


def test_comb_sum_adds_the_normalised_scores_of_returned_candidates() -> None:
    assert fused(FusionSpec(kind="comb_sum"), CANDIDATES) == pytest.approx({10: 1 + 1, 11: 0.5, 12: 0 + 0.5, 13: 0.0})


def test_comb_mnz_multiplies_by_the_number_of_retrievers() -> None:
    assert fused(FusionSpec(kind="comb_mnz"), CANDIDATES) == pytest.approx({10: 2 * 2, 11: 0.5, 12: 2 * 0.5, 13: 0.0})


def test_weights_multiply_and_a_retriever_of_weight_zero_does_not_count() -> None:
    sums = fused(FusionSpec(kind="comb_sum", weights={"bm25": 2.0, "text": 1.0}), CANDIDATES)
    assert sums == pytest.approx({10: 3.0, 11: 1.0, 12: 0.5, 13: 0.0})
    without_text = fused(FusionSpec(kind="comb_mnz", weights={"bm25": 1.0, "text": 0.0}), CANDIDATES)
    assert without_text == pytest.approx({10: 1.0, 11: 0.5, 12: 0.0})


def test_a_score_below_the_depth_does_not_count() -> None:
    assert fused(FusionSpec(kind="comb_sum", depth=1), CANDIDATES) == {10: 2.0}


def test_convex_also_counts_scores_of_candidates_that_were_not_returned() -> None:
    # 11: text can score it (0.3, its lowest) but did not return it; the mean counts that score, the sum does not
    average = fused(FusionSpec(kind="convex"), CANDIDATES)
    assert average[11] == pytest.approx(((6 - 1) / 9 + 0) / 2)
