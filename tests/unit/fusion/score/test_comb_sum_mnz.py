from __future__ import annotations

import pytest

from intarsia.fusion.spec import FusionSpec
from tests.unit.fusion.test_fuser import candidates, fused

NAN = float("nan")
# min_max over what each returned: bm25 10 -> 1, 6 -> 0.5, 2 -> 0; text 0.9 -> 1, 0.5 -> 0; product 13 only text knows, last
ONE = candidates(
    {"bm25": [10.0, 6.0, 2.0, 1.0], "text": [0.9, 0.3, 0.7, 0.5]}, {"bm25": [1, 2, 3, 0], "text": [1, 0, 2, 3]}
)


def test_comb_sum_adds_the_normalised_scores_of_who_returned_it() -> None:
    assert fused(FusionSpec(kind="comb_sum"), ONE) == pytest.approx({10: 1 + 1, 11: 0.5, 12: 0 + 0.5, 13: 0.0})


def test_comb_mnz_multiplies_by_how_many_did() -> None:
    assert fused(FusionSpec(kind="comb_mnz"), ONE) == pytest.approx({10: 2 * 2, 11: 0.5, 12: 2 * 0.5, 13: 0.0})


def test_weights_multiply_and_weight_zero_counts_for_nobody() -> None:
    sums = fused(FusionSpec(kind="comb_sum", weights={"bm25": 2.0, "text": 1.0}), ONE)
    assert sums == pytest.approx({10: 3.0, 11: 1.0, 12: 0.5, 13: 0.0})
    alone = fused(FusionSpec(kind="comb_mnz", weights={"bm25": 1.0, "text": 0.0}), ONE)
    assert alone == pytest.approx({10: 1.0, 11: 0.5, 12: 0.0})


def test_a_score_beyond_depth_counts_for_nothing() -> None:
    assert fused(FusionSpec(kind="comb_sum", depth=1), ONE) == {10: 2.0}


def test_an_average_over_opinions_is_not_a_sum_over_who_returned_it() -> None:
    # 11: text can score it (0.3, its lowest) but did not return it; the average counts that opinion, the sum does not
    average = fused(FusionSpec(kind="convex"), ONE)
    assert average[11] == pytest.approx(((6 - 1) / 9 + 0) / 2)
