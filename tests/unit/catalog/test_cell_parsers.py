from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Literal

import pytest

from intarsia.catalog.cell_parsers import (
    get_cell,
    is_blank,
    parse_bool,
    parse_id,
    parse_text,
    parse_time,
    parse_values,
    plain_text,
)
from intarsia.catalog.rejects import Reason, RowError


def test_a_dotted_column_reads_objects_and_a_column_with_a_dot_wins() -> None:
    raw = {"a": {"b": {"c": 1}}, "x.y": 2, "x": {"y": 3}}
    assert (get_cell(raw, "a.b.c"), get_cell(raw, "x.y"), get_cell(raw, "a.q"), get_cell(raw, "a.b.c.d")) == (
        1,
        2,
        None,
        None,
    )


def test_null_nan_spaces_and_empty_containers_are_blank() -> None:
    assert all(map(is_blank, [None, float("nan"), "", " \t", [], {}, ()]))
    assert not any(map(is_blank, [0, False, "0", [None], 0.0]))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<p>One</p><p>two</p>", "One two"),
        ("H<sub>2</sub>O and <b>bo</b>ld", "H2O and bold"),
        ("a<br>b<br/>c", "a b c"),
        ("<ul><li>x</li><li>y</li></ul>", "x y"),
        ("<style>p{}</style><script>alert(1)</script>ok<!-- no -->", "ok"),
        ("Tom &amp; Jerry&nbsp;&#8482;", "Tom & JerryTM".replace("Jerry", "Jerry ")),
        ("size < 5 & up", "size < 5 & up"),
        ("ＡＢＣ　１２３", "ABC 123"),
        ("<p>never closed", "never closed"),
        ("a\x00b", "a b"),
    ],
)
def test_html_becomes_plain_text(text: str, plain: str) -> None:
    assert plain_text(text) == plain


def test_html_parsing_can_be_forced_and_disabled() -> None:
    assert plain_text("a &amp; b", "yes") == "a & b"
    assert plain_text("<p>a &amp; b</p>", "no") == "<p>a &amp; b</p>"


def test_text_must_be_text_and_ids_text_or_whole_numbers() -> None:
    assert (
        parse_text("x", "t"),
        parse_text(None, "t"),
        parse_id(7, "id"),
        parse_id(" a ", "id"),
        parse_id(None, "id"),
    ) == (
        "x",
        "",
        "7",
        "a",
        "",
    )
    for read, value, fix in (
        (parse_text, 5, "give text"),
        (parse_text, ["x"], "give text"),
        (parse_id, True, "give text or a whole number"),
        (parse_id, 1.5, "give text or a whole number"),
        (parse_id, ["x"], "give text or a whole number"),
    ):
        with pytest.raises(RowError, match="field: wrong_type") as caught:
            read(value, "field")
        assert caught.value.fix == fix


def test_values_are_split_flattened_and_converted_to_text() -> None:
    assert parse_values("Wool|Fleece\nNylon", ("|", "\n"), "f") == ["Wool", "Fleece", "Nylon"]
    assert parse_values(["a", ["b", None], 3, 2.0, 2.5, True, False], (), "f") == [
        "a",
        "b",
        "3",
        "2",
        "2.5",
        "yes",
        "no",
    ]
    assert parse_values([Decimal("1.5"), date(2024, 5, 1)], (), "f") == ["1.5", "2024-05-01"]
    assert parse_values("Cocona&reg; | ", ("|",), "f") == ["Cocona®"]
    with pytest.raises(RowError, match="f: wrong_type") as caught:
        parse_values({"a": 1}, (), "f")
    assert caught.value.fix == "give text, a number, a boolean or a list of them"


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        (None, None),
        ("", None),
        (True, True),
        (0, False),
        (3.5, True),
        (-1, False),
        ("12", True),
        ("0", False),
        ("In Stock", True),
        ("SOLD OUT", False),
        ("有货", True),
        ("售罄", False),
    ],
)
def test_stock_is_read_from_counts_booleans_and_words(value: object, truth: bool | None) -> None:
    assert parse_bool(value, "stock") is truth


@pytest.mark.parametrize("value", ["perhaps", [1], {"n": 1}])
def test_unknown_stock_values_are_rejected(value: object) -> None:
    with pytest.raises(RowError, match="stock: stock_unparsable") as caught:
        parse_bool(value, "stock")
    assert caught.value.fix == "give a count, true or false, or `in stock` or `out of stock`"


@pytest.mark.parametrize(
    ("value", "unit", "time"),
    [
        ("2024-05-31T12:00:00Z", "auto", datetime(2024, 5, 31, 12, tzinfo=UTC)),
        ("2024-05-31 12:00:00+02:00", "auto", datetime(2024, 5, 31, 10, tzinfo=UTC)),
        ("2024-05-31", "auto", datetime(2024, 5, 31, tzinfo=UTC)),
        ("2024/5/1 08:30", "auto", datetime(2024, 5, 1, 8, 30, tzinfo=UTC)),
        (1_700_000_000, "auto", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (1_700_000_000_000, "auto", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("1700000000", "s", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (86_400_000, "ms", datetime(1970, 1, 2, tzinfo=UTC)),
        (date(2024, 5, 31), "auto", datetime(2024, 5, 31, tzinfo=UTC)),
        (datetime(2024, 5, 31, 12, tzinfo=timezone(timedelta(hours=8))), "auto", datetime(2024, 5, 31, 4, tzinfo=UTC)),
        (None, "auto", None),
    ],
)
def test_times_are_read_and_set_to_utc(value: object, unit: Literal["auto", "s", "ms"], time: datetime | None) -> None:
    assert parse_time(value, unit, "updated") == time


@pytest.mark.parametrize("value", ["2024-13-45", "yesterday", True, [1], 10**30, -1e12, float("inf"), "9" * 400])
def test_values_that_are_not_times_are_rejected(value: object) -> None:
    with pytest.raises(RowError, match="date_unparsable") as caught:
        parse_time(value, "auto", "updated")
    assert caught.value.reason == Reason.DATE_UNPARSABLE
