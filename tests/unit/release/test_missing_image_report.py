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
PLACES = {RANKED: (1, 2, 4), FUSED: (1, 5, 8), TEXT_ONLY: (2,)}
"""Where each system has the one relevant product of every query, by share of missing pictures."""


def measured(*, text_only: bool) -> Evaluation:
    def orders(place: int) -> list[np.ndarray]:
        return [np.array([*range(1, place), 0, *range(place, 9)], np.int64)] * 4

    systems = {
        name_at(system, share): orders(place)
        for system in (RANKED, FUSED)
        for share, place in zip(SHARES, PLACES[system], strict=True)
    }
    if text_only:
        systems[TEXT_ONLY] = orders(*PLACES[TEXT_ONLY])
    qrels = [Qrels(rows_J=np.array([0], np.int64), grades_J=np.array([1.0]))] * 4
    return evaluate_systems(systems, qrels, pairs=[], slices=[], num_products=9, config=CONFIG)


def test_ranked_is_set_beside_itself_without_images_and_fused_beside_the_fusion_of_words() -> None:
    rows = compare_shares(measured(text_only=True), SHARES, CONFIG)
    assert [row.share for row in rows] == list(SHARES)
    assert [row.ranked.mean for row in rows] == [1.0, 0.5, 0.25]
    assert [row.minus_none.difference.mean for row in rows] == [0.75, 0.25, 0.0]
    assert [row.fused.mean for row in rows] == pytest.approx([1.0, 0.2, 0.125])
    against = [row.minus_text_only.difference.mean for row in rows if row.minus_text_only]
    assert against == pytest.approx([0.5, -0.3, -0.375])
    over_none, over_text_only = gains_of(rows)
    assert over_none == {RANKED: (0.75,) * 3, "ranked, 50% of pictures missing": (0.25,) * 3}
    assert list(over_text_only) == [FUSED, "fused, 50% of pictures missing"]
    assert over_text_only["fused, 50% of pictures missing"] == pytest.approx((-0.3,) * 3)


def test_a_release_that_knows_no_fusion_of_words_is_compared_with_itself_alone() -> None:
    rows = compare_shares(measured(text_only=False), SHARES, CONFIG)
    assert [row.minus_text_only for row in rows] == [None] * 3
    assert list(gains_of(rows)[0]) == [RANKED, "ranked, 50% of pictures missing"]
    assert gains_of(rows)[1] == {}


def test_nothing_is_asked_of_a_catalog_without_images() -> None:
    assert compare_shares(measured(text_only=True), (), CONFIG) == ()
    assert gains_of(()) == ({}, {})


def test_the_orders_of_a_release_at_each_share_are_those_of_the_catalog_as_it_then_is() -> None:
    engine = shop().engine()
    queries, judgments = read_judged(shop().lake, SPLITS)
    asked: list[SearchEngine] = []

    def candidates(one: SearchEngine) -> list[JudgedCandidates]:
        asked.append(one)
        return retrieve_judged(one.encoders, one.retrieve, queries, judgments, lambda *_: None)

    found = orders_at(engine, shop().release, (0.5, 1.0), candidates, seed=3)
    assert list(found) == [name_at(system, share) for share in (0.5, 1.0) for system in (RANKED, FUSED)]
    left = [float(one.columns.num_images.sum()) for one in asked]
    assert float(engine.columns.num_images.sum()) > left[0] > left[1] == 0.0
    again = ranked_orders(candidates(asked[1]), asked[1].fuser, asked[1].rank)
    assert [one.tolist() for one in again] == [one.tolist() for one in found["ranked, 100% of pictures missing"]]
