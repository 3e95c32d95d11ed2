"""Judged queries from the lake have the candidates that they would have in serving."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from intarsia.encoders.aligned import Alignment
from intarsia.engine.config import EngineConfig
from intarsia.errors import ReleaseMismatch
from intarsia.experiments.judged_candidates import (
    UNRELEASED,
    JudgedCandidates,
    as_query,
    catalog_time,
    judged_candidates,
    open_judged_encoders,
    read_judged,
    retrieve_judged,
    row_numbers,
)
from intarsia.lake import Lake
from intarsia.records.judgment import SPLITS, Split
from tests.unit.engine.small_release import FLOORS, NOON, NUM_PRODUCTS, shop

SHOP = shop()
ENGINE = SHOP.engine()


class RecordedProgress(list[tuple[str, int, int]]):
    def __call__(self, step: str, done: int, total: int) -> None:
        self.append((step, done, total))


def candidates_with(config: EngineConfig, splits: tuple[Split, ...] = SPLITS) -> list[JudgedCandidates]:
    return judged_candidates(SHOP.lake, config, splits, RecordedProgress())


@pytest.mark.parametrize("splits", [("train",), ("validation", "test"), SPLITS, ()])
def test_read_judged_returns_the_splits_ordered_by_id(splits: tuple[Split, ...]) -> None:
    queries, judgments = read_judged(SHOP.lake, splits)
    ids = [f"j{n}" for n in range(9) if SPLITS[n // 3] in splits]
    assert [query.query_id for query in queries] == ids
    assert {query.split for query in queries} == set(splits)
    assert {judgment.query_id for judgment in judgments} == set(ids)


def test_judged_queries_are_dated_by_the_newest_catalog_change() -> None:
    assert catalog_time(ENGINE.retrieve) == NOON - timedelta(days=1)
    columns = replace(ENGINE.columns, updated_at_s=np.full(NUM_PRODUCTS, np.nan))
    assert catalog_time(replace(ENGINE.retrieve, columns=columns)) == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_judged_query_has_the_candidates_of_serving() -> None:
    queries, judgments = read_judged(SHOP.lake, SPLITS)
    progress = RecordedProgress()
    results = retrieve_judged(ENGINE.encoders, ENGINE.retrieve, queries, judgments, progress)
    assert progress == [("queries", n, 9) for n in range(1, 10)]
    for judged, result in zip(queries, results, strict=True):
        assert result.judged == judged
        query = as_query(judged, NOON - timedelta(days=1))
        assert result.encoded.query == query
        assert (query.text, query.image, query.locale, query.limit) == (judged.text, judged.image, judged.locale, 10)
        online = ENGINE.retrieve.retrieve([ENGINE.encoders.encode(query, judged_in_train=judged.split == "train")])[0]
        assert result.candidates.rows_C.tolist() == online.rows_C.tolist()
        assert result.candidates.scores_CR.tobytes() == online.scores_CR.tobytes()


def test_the_lakes_parts_give_the_same_candidates_as_a_release() -> None:
    results = candidates_with(FLOORS, ("train",))
    encoders = open_judged_encoders(SHOP.lake)
    again = retrieve_judged(encoders, ENGINE.retrieve, *read_judged(SHOP.lake, ("train",)), RecordedProgress())
    assert [query.judged for query in results] == [query.judged for query in again]
    for result, expected in zip(results, again, strict=True):
        assert result.candidates.release_id == UNRELEASED
        assert result.candidates.rows_C.tolist() == expected.candidates.rows_C.tolist()
        assert result.candidates.ranks_CR.tobytes() == expected.candidates.ranks_CR.tobytes()


def test_with_judged_only_each_query_has_its_judged_products() -> None:
    everything = EngineConfig(depth=NUM_PRODUCTS, text_floor=-1.0, image_floor=-1.0)
    numbers = row_numbers(ENGINE.retrieve)
    _, judgments = read_judged(SHOP.lake, SPLITS)
    for free, only in zip(
        candidates_with(everything), candidates_with(replace(everything, judged_only=True)), strict=True
    ):
        judged_rows = {numbers.get(j.product_id, -1) for j in judgments if j.query_id == only.judged.query_id}
        assert only.candidates.rows_C.tolist() == sorted(judged_rows & set(free.candidates.rows_C.tolist()))
        assert only.candidates.num_matches == len(only.candidates.rows_C) < free.candidates.num_matches


def test_judged_only_without_products_in_the_catalog_is_empty() -> None:
    last = candidates_with(EngineConfig(judged_only=True))[-1]
    assert (last.judged.query_id, len(last.candidates.rows_C), last.candidates.num_matches) == ("j8", 0, 0)


def test_row_numbers_map_each_product_to_its_row() -> None:
    assert row_numbers(ENGINE.retrieve) == {product.product_id: row for row, product in enumerate(SHOP.products)}


def test_query_encoders_of_another_alignment_are_refused(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    for name in ("query_encoders", "indexes"):
        with lake.publish(name) as folder:
            shutil.copytree(SHOP.lake.current(name).path, folder, dirs_exist_ok=True)
    assert open_judged_encoders(lake).aligned is not None  # without alignment in the lake: the encoders that serve
    alignment = Alignment.open(SHOP.lake.current("alignment").path)
    with lake.publish("alignment") as folder:
        replace(alignment, image_bias_D=alignment.image_bias_D + 1).save(folder)
    with pytest.raises(ReleaseMismatch, match=r"the query encoders hold .*run export_query_encoders again"):
        open_judged_encoders(lake)
