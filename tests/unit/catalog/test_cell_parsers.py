from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Literal

import pytest

from intarsia.catalog.cell_parsers import id_of, is_blank, pick, plain_text, text_of, time_of, truth_of, values_of
from intarsia.catalog.validate import Reason, RowFault


def test_a_dotted_column_looks_into_objects_and_a_name_with_a_dot_wins() -> None:
    raw = {"a": {"b": {"c": 1}}, "x.y": 2, "x": {"y": 3}}
    assert (pick(raw, "a.b.c"), pick(raw, "x.y"), pick(raw, "a.q"), pick(raw, "a.b.c.d")) == (1, 2, None, None)


def test_blank_is_null_nan_space_and_nothing_in_it() -> None:
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
def test_html_becomes_what_people_read(text: str, plain: str) -> None:
    assert plain_text(text) == plain


def test_html_can_be_forced_and_forbidden() -> None:
    assert plain_text("a &amp; b", "yes") == "a & b"
    assert plain_text("<p>a &amp; b</p>", "no") == "<p>a &amp; b</p>"


def test_text_must_be_text_and_ids_text_or_whole_numbers() -> None:
    assert (text_of("x", "t"), text_of(None, "t"), id_of(7, "id"), id_of(" a ", "id"), id_of(None, "id")) == (
        "x",
        "",
        "7",
        "a",
        "",
    )
    for read, value, fix in (
        (text_of, 5, "give text"),
        (text_of, ["x"], "give text"),
        (id_of, True, "give text or a whole number"),
        (id_of, 1.5, "give text or a whole number"),
        (id_of, ["x"], "give text or a whole number"),
    ):
        with pytest.raises(RowFault, match="field: wrong_type") as caught:
            read(value, "field")
        assert caught.value.fix == fix


def test_values_are_parted_flattened_and_written_out() -> None:
    assert values_of("Wool|Fleece\nNylon", ("|", "\n"), "f") == ["Wool", "Fleece", "Nylon"]
    assert values_of(["a", ["b", None], 3, 2.0, 2.5, True, False], (), "f") == ["a", "b", "3", "2", "2.5", "yes", "no"]
    assert values_of([Decimal("1.5"), date(2024, 5, 1)], (), "f") == ["1.5", "2024-05-01"]
    assert values_of("Cocona&reg; | ", ("|",), "f") == ["Cocona®"]
    with pytest.raises(RowFault, match="f: wrong_type") as caught:
        values_of({"a": 1}, (), "f")
    assert caught.value.fix == "give text, a number, a truth value or a list of them"


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
def test_stock_is_read_from_counts_truth_values_and_words(value: object, truth: bool | None) -> None:
    assert truth_of(value, "stock") is truth


@pytest.mark.parametrize("value", ["perhaps", [1], {"n": 1}])
def test_stock_that_says_neither_is_refused(value: object) -> None:
    with pytest.raises(RowFault, match="stock: stock_unparsable") as caught:
        truth_of(value, "stock")
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
    assert time_of(value, unit, "updated") == time


@pytest.mark.parametrize("value", ["2024-13-45", "yesterday", True, [1], 10**30, -1e12, float("inf"), "9" * 400])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(RowFault, match="date_unparsable") as caught:
        time_of(value, "auto", "updated")
    assert caught.value.reason == Reason.DATE_UNPARSABLE
