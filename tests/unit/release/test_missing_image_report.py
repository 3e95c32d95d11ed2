from __future__ import annotations

import numpy as np
import pytest

from intarsia.engine.search import SearchEngine
from intarsia.evaluation.evaluate import Evaluation, EvaluationConfig, evaluate_systems
from intarsia.evaluation.qrels import Qrels
from intarsia.experiments.evaluated_systems import FUSED, RANKED, TEXT_ONLY, ranked_orders
from intarsia.experiments.judged_candidates import JudgedCandidates, read_judged, retrieve_judged
from intarsia.records.judgment import SPLITS
from intarsia.release.missing_image_report import compare_shares, gains_of, name_at, orders_at
from tests.unit.engine.small_release import shop

CONFIG = EvaluationConfig(metrics=("mrr@10",), num_resamples=50)
SHARES = (0.0, 0.5, 1.0)
POSITIONS = {RANKED: (1, 2, 4), FUSED: (1, 5, 8), TEXT_ONLY: (2,)}
"""Position of the only relevant product in each system, by share of missing images."""


def measured(*, text_only: bool) -> Evaluation:
    def orders(position: int) -> list[np.ndarray]:
        return [np.array([*range(1, position), 0, *range(position, 9)], np.int64)] * 4

    systems = {
        name_at(system, share): orders(position)
        for system in (RANKED, FUSED)
        for share, position in zip(SHARES, POSITIONS[system], strict=True)
    }
    if text_only:
        systems[TEXT_ONLY] = orders(*POSITIONS[TEXT_ONLY])
    qrels = [Qrels(rows_J=np.array([0], np.int64), grades_J=np.array([1.0]))] * 4
    return evaluate_systems(systems, qrels, pairs=[], slices=[], num_products=9, config=CONFIG)


def test_ranked_and_fused_orders_are_compared_at_each_share() -> None:
    rows = compare_shares(measured(text_only=True), SHARES, CONFIG)
    assert [row.share for row in rows] == list(SHARES)
    assert [row.ranked.mean for row in rows] == [1.0, 0.5, 0.25]
    assert [row.minus_none.difference.mean for row in rows] == [0.75, 0.25, 0.0]
    assert [row.fused.mean for row in rows] == pytest.approx([1.0, 0.2, 0.125])
    minus_text_only = [row.minus_text_only.difference.mean for row in rows if row.minus_text_only]
    assert minus_text_only == pytest.approx([0.5, -0.3, -0.375])
    over_none, over_text_only = gains_of(rows)
    assert over_none == {RANKED: (0.75,) * 3, "ranked, 50% of images missing": (0.25,) * 3}
    assert list(over_text_only) == [FUSED, "fused, 50% of images missing"]
    assert over_text_only["fused, 50% of images missing"] == pytest.approx((-0.3,) * 3)


def test_without_text_only_fusion_only_the_first_comparison_is_made() -> None:
    rows = compare_shares(measured(text_only=False), SHARES, CONFIG)
    assert [row.minus_text_only for row in rows] == [None] * 3
    assert list(gains_of(rows)[0]) == [RANKED, "ranked, 50% of images missing"]
    assert gains_of(rows)[1] == {}


def test_without_shares_there_are_no_rows() -> None:
    assert compare_shares(measured(text_only=True), (), CONFIG) == ()
    assert gains_of(()) == ({}, {})


def test_the_orders_at_a_share_are_those_of_the_changed_catalog() -> None:
    engine = shop().engine()
    queries, judgments = read_judged(shop().lake, SPLITS)
    engines: list[SearchEngine] = []

    def candidates(at_share: SearchEngine) -> list[JudgedCandidates]:
        engines.append(at_share)
        return retrieve_judged(at_share.encoders, at_share.retrieve, queries, judgments, lambda *_: None)

    orders_by_name = orders_at(engine, shop().release, (0.5, 1.0), candidates, seed=3)
    assert list(orders_by_name) == [name_at(system, share) for share in (0.5, 1.0) for system in (RANKED, FUSED)]
    num_images = [float(at_share.columns.num_images.sum()) for at_share in engines]
    assert float(engine.columns.num_images.sum()) > num_images[0] > num_images[1] == 0.0
    expected = ranked_orders(candidates(engines[1]), engines[1].fuser, engines[1].rank)
    assert [at_share.tolist() for at_share in expected] == [
        at_share.tolist() for at_share in orders_by_name["ranked, 100% of images missing"]
    ]
