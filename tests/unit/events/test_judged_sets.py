from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from intarsia.config import build
from intarsia.errors import ConfigError, DataError
from intarsia.events.judged_sets import (
    JudgmentsMapping,
    QueriesMapping,
    hash_split,
    query_id_from_text,
    read_judgments,
    read_queries,
)
from intarsia.ids import QueryId
from intarsia.records.judgment import JudgedQuery, Judgment


def _queries(*rows: dict[str, Any], folder: Path = Path(), **mapping: Any) -> list[JudgedQuery]:
    return read_queries(enumerate(rows, 1), build(QueriesMapping, mapping), folder)


def _judgments(*rows: dict[str, Any], known: tuple[str, ...] = ("q1",), **mapping: Any) -> list[Judgment]:
    return read_judgments(enumerate(rows, 1), build(JudgmentsMapping, mapping), map(QueryId, known))


_QUERY = {"query_id": "q1", "text": "red shoes", "split": "train"}
_JUDGED = {"query_id": "q1", "product_id": "P1", "gain": "3"}


def test_queries_are_sorted_by_id_with_split_locale_and_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"picture")
    rows = (
        {"query_id": "q2", "text": "红鞋", "split": "test", "image": "a.jpg", "lang": ""},
        {"query_id": "q1", "text": None, "split": "train", "image": "a.jpg", "lang": "zh-CN"},
    )
    assert _queries(*rows, folder=tmp_path) == [
        JudgedQuery(query_id=QueryId("q1"), text=None, image=b"picture", locale="zh", split="train"),
        JudgedQuery(query_id=QueryId("q2"), text="红鞋", image=b"picture", locale="zh", split="test"),
    ]


def test_queries_without_ids_are_unique_by_text_in_any_case() -> None:
    rows = ({"q": "LED lights"}, {"q": "led Lights"}, {"q": "rug"})
    queries = _queries(*({**row, "q": row["q"].lower()} for row in rows), query_id=None, text="q", split="hash")
    assert sorted(str(query.text) for query in queries) == ["led lights", "rug"]
    assert query_id_from_text("LED lights") == query_id_from_text("led LIGHTS") != query_id_from_text("rug")


def test_the_hash_split_is_that_of_the_protocol() -> None:
    for text in ("Bridal shower decorations", "led christmas lights", "红色运动鞋"):
        tenth = int(hashlib.blake2b(text.lower().encode(), digest_size=4).hexdigest(), 16) % 10
        assert hash_split(text) == ("train" if tenth <= 5 else "validation" if tenth <= 7 else "test")


def test_a_constant_split_is_that_of_every_query() -> None:
    queries = _queries({"query_id": "q1", "text": "a"}, split="constant", split_value="validation", locale="zh")
    assert [(query.split, query.locale) for query in queries] == [("validation", "zh")]


@pytest.mark.parametrize(
    ("rows", "mapping", "message"),
    [
        ((), {}, "queries.jsonl: rows is 0; allowed: 1 or more"),
        (({"text": "a", "split": "test"},), {}, "row 1: column is 'query_id'; allowed: text, split"),
        (({**_QUERY, "query_id": ""},), {}, "row 1: query_id is ''; allowed: a value"),
        (({**_QUERY, "text": None},), {}, "query q1 has neither text nor image"),
        (({**_QUERY, "split": "dev"},), {}, "split is 'dev'; allowed: train, validation, test"),
        (({**_QUERY, "lang": "de"},), {}, "lang is 'de'; allowed: en, zh"),
        (({**_QUERY, "image": "none.jpg"},), {}, "image is 'none.jpg'; allowed: a file"),
        ((_QUERY, {**_QUERY, "text": "blue"}), {}, "row 2: query_id is 'q1'; allowed: one query per id"),
    ],
)
def test_an_invalid_query_is_an_error_that_names_its_row(
    rows: tuple[dict[str, Any], ...], mapping: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        _queries(*rows, **mapping)


def test_judgments_are_sorted_and_a_repeated_one_counts_once() -> None:
    rows = (_JUDGED, {**_JUDGED, "product_id": "P0", "gain": "1.5"}, _JUDGED)
    assert _judgments(*rows) == [
        Judgment(query_id=QueryId("q1"), product_id="P0", grade=1.5),
        Judgment(query_id=QueryId("q1"), product_id="P1", grade=3),
    ]


def test_grades_are_mapped_and_queries_may_be_given_by_text() -> None:
    judgments = _judgments(
        {"q": "Led Lights", "product_id": 7, "rel": 4},
        known=(query_id_from_text("led lights"),),
        query_id=None,
        query_text="q",
        grade="rel",
        grades={1: 0, 4: 3},
    )
    assert [(judgment.product_id, judgment.grade) for judgment in judgments] == [("7", 3)]


@pytest.mark.parametrize(
    ("rows", "mapping", "message"),
    [
        (({**_JUDGED, "gain": "good"},), {}, "gain is 'good'; allowed: 0 to 3"),
        (({**_JUDGED, "gain": "5"},), {}, "gain is '5'; allowed: 0 to 3"),
        (({**_JUDGED, "gain": "nan"},), {}, "gain is 'nan'; allowed: 0 to 3"),
        ((_JUDGED,), {"grades": {"1": 3}}, "gain is '3'; allowed: 1"),
        (({**_JUDGED, "product_id": ""},), {}, "product_id is ''; allowed: a value"),
        ((_JUDGED, {**_JUDGED, "gain": "1"}), {}, "row 2: grade is 1.0; allowed: 3.0, as it was judged before"),
        (
            (_JUDGED, {**_JUDGED, "query_id": "q8"}, {**_JUDGED, "query_id": "q9"}),
            {},
            "row 2: query_id is 'q8 and 1 more rows of unknown queries'",
        ),
    ],
)
def test_an_invalid_judgment_is_an_error_that_names_its_row(
    rows: tuple[dict[str, Any], ...], mapping: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        _judgments(*rows, **mapping)


def test_invalid_mappings_are_refused() -> None:
    with pytest.raises(ConfigError, match="queries need the column of their id or of their text"):
        build(QueriesMapping, {"query_id": None, "text": None})
    with pytest.raises(ConfigError, match="judgments need the column of the query's id or of its text"):
        build(JudgmentsMapping, {"query_id": None})
    with pytest.raises(ConfigError, match=r"grades.4 is 4.0; allowed: 0 to 3"):
        build(JudgmentsMapping, {"grades": {"4": 4}})
