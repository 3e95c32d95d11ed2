"""Properties of reading and cleaning a catalog, for any input bytes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intarsia.catalog.cell_parsers import plain_text
from intarsia.catalog.clean import RowCleaner
from intarsia.catalog.mapping import FileShape
from intarsia.catalog.money import MINOR_DIGITS, parse_price
from intarsia.catalog.near_duplicates import dedup_text, simhash
from intarsia.catalog.sources import RawRow, UnreadableRow, plan_splits, read_split
from intarsia.events.judged_sets import hash_split
from intarsia.tables.products import PRODUCTS, REJECTED_PRODUCTS, product_to_row, row_to_product
from tests.unit.catalog.shop_files import mapping

_FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
_CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=8) | st.sampled_from(
    ('"', '""', "\n", ",", 'a"b', "x\ny", " ", "")
)
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=6,
)
_RULES = mapping(
    description=["d", "e"],
    brand="b",
    category={"columns": "c", "separator": ">"},
    price={"column": "p", "currency_column": "q", "currency": "USD"},
    images={"columns": ["i", "j"]},
    attributes={"a": "a", "x": {"column": "o.x", "separators": ["|"]}},
    attribute_objects=[{"column": "o"}],
    in_stock="s",
    locale_column="l",
    updated_at="u",
    variants={"column": "v", "attributes": {"size": "s"}, "images": "i", "price": "p", "in_stock": "n"},
)
_COLUMNS = ("id", "title", "d", "e", "b", "c", "p", "q", "i", "j", "a", "o", "s", "l", "u", "v")


@_FILES
@given(
    rows=st.lists(st.lists(_CELLS, min_size=2, max_size=2), max_size=12),
    split_rows=st.integers(1, 5),
    block=st.integers(1, 9),
)
def test_the_rows_of_all_splits_are_the_rows_of_the_csv(
    tmp_path: Path, rows: list[list[str]], split_rows: int, block: int
) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["k", "l"], *rows])
    path = tmp_path / "a.csv"
    path.write_bytes(out.getvalue().encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("intarsia.catalog.sources._BLOCK_BYTES", block)
        splits = plan_splits(path, split_rows=split_rows)
        read = [row for split in splits for row in read_split(split)]
    assert [list(value.values()) for _, value in read if not isinstance(value, UnreadableRow)] == rows
    assert [number for number, _ in read] == list(range(1, len(rows) + 1))
    assert all(split.num_rows == split_rows for split in splits[:-1])


@_FILES
@given(content=st.binary(max_size=200), is_csv=st.booleans(), split_rows=st.integers(1, 4))
def test_any_bytes_give_the_same_rows_however_they_are_split(
    tmp_path: Path, content: bytes, is_csv: bool, split_rows: int
) -> None:
    path = tmp_path / "a.any"
    path.write_bytes(content)
    shape = FileShape(format="csv", header=("k", "l")) if is_csv else FileShape(format="jsonl")
    whole, cut = (
        [row for split in plan_splits(path, shape, split_rows=rows) for row in read_split(split)]
        for rows in (10_000, split_rows)
    )
    assert repr(whole) == repr(cut)  # repr: JSON knows NaN
    assert sum(split.num_rows for split in plan_splits(path, shape, split_rows=split_rows)) == len(cut)


@settings(max_examples=300)
@given(raw=st.fixed_dictionaries({}, optional=dict.fromkeys(_COLUMNS, _JSON)), named=st.booleans())
def test_any_row_is_a_product_or_dropped_for_one_reason(raw: dict[str, Any], named: bool) -> None:
    row = json.loads(json.dumps(raw | ({"id": "1", "title": "t"} if named else {})))
    cleaned = RowCleaner(_RULES, Path("/nonexistent")).clean("f", RawRow(1, row))
    assert sum(reject.dropped for reject in cleaned.rejects) == (cleaned.product is None)
    REJECTED_PRODUCTS.from_rows([reject.to_row() for reject in cleaned.rejects])
    if cleaned.product is not None:
        table = PRODUCTS.from_rows([product_to_row(cleaned.product, cleaned.image_bytes)])
        assert row_to_product(table.to_pylist()[0])[0] == cleaned.product


@given(text=st.text(max_size=60))
def test_plain_text_has_no_control_characters(text: str) -> None:
    plain = plain_text(text)
    assert plain == plain.strip()
    assert not any(ord(char) < 32 or 0xD800 <= ord(char) < 0xE000 for char in plain)


@given(minor=st.integers(0, 10**9), currency=st.sampled_from(sorted(MINOR_DIGITS)))
def test_a_formatted_price_is_parsed_back(minor: int, currency: str) -> None:
    digits = MINOR_DIGITS[currency]
    whole, rest = divmod(minor, 10**digits)
    text = f"{whole:,}" + (f".{rest:0{digits}d}" if digits else "")
    assert parse_price(text, currency).minor_units == minor
    assert parse_price(f"{currency} {text}", None).minor_units == minor


@given(text=st.text(max_size=40), around=st.sampled_from(("!", " ", "-", "，", "🎁")))
def test_punctuation_and_spaces_do_not_change_the_dedup_text(text: str, around: str) -> None:
    assert dedup_text(dedup_text(text)) == dedup_text(text)
    assert dedup_text(f"{around}{text}{around}") == dedup_text(text)
    assert simhash(dedup_text(f"{text}{around}")) == simhash(dedup_text(text))


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_the_split_of_a_query_ignores_case(text: str) -> None:
    assert hash_split(text) == hash_split(text.lower())
