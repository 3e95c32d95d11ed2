from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from intarsia.catalog.clean import CleanedRow, CleanLimits, RowCleaner
from intarsia.catalog.rejects import Reason
from intarsia.catalog.sources import RawRow, UnreadableRow
from intarsia.image import ImageFault
from intarsia.records.product import Money
from tests.unit.catalog.shop_files import flat_image, make_image, mapping, put_images, write_jsonl


def _clean(
    raw: Mapping[str, Any] | UnreadableRow,
    rules: Mapping[str, Any],
    folder: Path = Path(),
    limits: CleanLimits | None = None,
) -> CleanedRow:
    return RowCleaner(mapping(**rules), folder, limits).clean("shop.jsonl", RawRow(7, raw))


def _reasons(cleaned: CleanedRow) -> list[tuple[str, str, bool]]:
    return [(reject.field, reject.reason.value, reject.dropped) for reject in cleaned.rejects]


def test_a_whole_row_becomes_a_clean_product(tmp_path: Path) -> None:
    put_images(tmp_path / "pics", {"a.png": make_image(1), "b.jpg": make_image(2, format="JPEG")})
    rules = {
        "title": ["name", "sub"],
        "description": ["intro", "html"],
        "brand": ["maker", "seller"],
        "category": {"columns": "path", "separator": ">"},
        "price": {"column": "price", "currency_column": "money"},
        "images": {"columns": ["main", "more"], "root": "pics", "separator": ";"},
        "attributes": {"colour": "colour"},
        "in_stock": ["stock", "on_sale"],
        "locale_column": "lang",
        "updated_at": "changed",
    }
    raw = {
        "id": 12,
        "name": " Ｒｅｄ  Mug ",
        "sub": "with &amp; handle",
        "intro": "Holds tea.",
        "html": "<p>Made of <b>clay</b>.</p>",
        "maker": None,
        "seller": "Muji",
        "path": "Home > Mugs",
        "price": "1,299.5",
        "money": "CNY",
        "main": "a.png",
        "more": "b.jpg; a.png",
        "colour": "Red",
        "stock": 3,
        "on_sale": True,
        "lang": "zh_CN",
        "changed": "2024-05-31",
    }
    cleaned = _clean(raw, rules, tmp_path)
    product = cleaned.product
    assert product is not None
    assert (product.product_id, product.title, product.description) == (
        "12",
        "Red Mug with & handle",
        "Holds tea. Made of clay.",
    )
    assert (product.brand, product.category_path, product.locale) == ("Muji", ("Home", "Mugs"), "zh")
    assert product.price == Money(minor_units=129950, currency="CNY")
    assert product.attributes == {"colour": ("Red",)}
    assert (product.in_stock, product.updated_at) == (True, datetime(2024, 5, 31, tzinfo=UTC))
    assert [(image.source, image.width, image.height) for image in product.images] == [
        ("a.png", 32, 32),
        ("b.jpg", 32, 32),
    ]
    assert cleaned.image_bytes == (make_image(1), make_image(2, format="JPEG"))
    assert cleaned.rejects == ()


@pytest.mark.parametrize(
    ("raw", "rules", "field", "reason"),
    [
        ({"title": "t"}, {}, "id", Reason.ID_MISSING),
        ({"id": " ", "title": "t"}, {}, "id", Reason.ID_MISSING),
        ({"id": ["x"], "title": "t"}, {}, "id", Reason.WRONG_TYPE),
        ({"id": "x" * 201, "title": "t"}, {}, "id", Reason.ID_TOO_LONG),
        ({"id": "1"}, {}, "title", Reason.TITLE_MISSING),
        ({"id": "1", "title": "<p> </p>"}, {}, "title", Reason.TITLE_MISSING),
        ({"id": "1", "title": "n/a"}, {"placeholders": ["N/A"]}, "title", Reason.TITLE_MISSING),
        ({"id": "1", "title": "t" * 501}, {}, "title", Reason.TITLE_TOO_LONG),
        ({"id": "1", "title": 5}, {}, "title", Reason.WRONG_TYPE),
        ({"id": "1", "title": "t", "d": [1]}, {"description": "d"}, "d", Reason.WRONG_TYPE),
        ({"id": "1", "title": "t", "b": {}, "c": 1}, {"brand": ["b", "c"]}, "brand", Reason.WRONG_TYPE),
        ({"id": "1", "title": "t", "p": "-1"}, {"price": {"column": "p", "currency": "USD"}},
         "price", Reason.PRICE_NEGATIVE),
        ({"id": "1", "title": "t", "p": "1"}, {"price": {"column": "p"}}, "currency", Reason.CURRENCY_UNKNOWN),
        ({"id": "1", "title": "t", "l": "de"}, {"locale_column": "l"}, "l", Reason.LOCALE_UNKNOWN),
        ({"id": "1", "title": "t", "u": "soon"}, {"updated_at": "u"}, "u", Reason.DATE_UNPARSABLE),
        ({"id": "1", "title": "t", "s": "maybe"}, {"in_stock": "s"}, "s", Reason.STOCK_UNPARSABLE),
    ],
)  # fmt: skip
def test_an_invalid_row_is_dropped_with_one_reason(
    raw: dict[str, Any], rules: dict[str, Any], field: str, reason: Reason
) -> None:
    cleaned = _clean(raw, rules)
    assert cleaned.product is None
    assert cleaned.image_bytes == ()
    assert _reasons(cleaned) == [(field, reason.value, True)]
    assert (cleaned.rejects[0].file, cleaned.rejects[0].row) == ("shop.jsonl", 7)
    assert cleaned.rejects[0].fix


def test_an_unreadable_row_is_dropped_with_the_reason_of_the_reader() -> None:
    cleaned = _clean(UnreadableRow(reason=Reason.BROKEN_JSON, found='{"a', fix="close it"), {})
    assert _reasons(cleaned) == [("row", "broken_json", True)]
    assert (cleaned.rejects[0].found, cleaned.rejects[0].fix) == ('{"a', "close it")


def test_too_deeply_nested_lists_drop_the_row_only() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert _reasons(_clean({"id": "1", "title": "t", "a": deep}, {"attributes": {"a": "a"}})) == [
        ("row", "wrong_type", True)
    ]


def test_placeholder_texts_are_left_out_and_reported_for_descriptions() -> None:
    rules = {
        "description": ["sub", "text"],
        "brand": "brand",
        "price": {"column": "p", "currency": "CNY"},
        "placeholders": ["商品介绍加载中...", "N/A"],
    }
    raw = {"id": "1", "title": "面霜", "sub": "50ml", "text": "商品介绍加载中...", "brand": "n/a", "p": "N/A"}
    cleaned = _clean(raw, rules)
    assert cleaned.product is not None
    assert (cleaned.product.description, cleaned.product.brand, cleaned.product.price) == ("50ml", "", None)
    assert _reasons(cleaned) == [("text", "description_placeholder", False)]


def test_a_missing_category_is_reported_and_the_product_kept() -> None:
    cleaned = _clean({"id": "1", "title": "t", "c": []}, {"category": {"columns": "c"}})
    assert cleaned.product is not None
    assert _reasons(cleaned) == [("category", "category_missing", False)]


def test_a_too_long_description_is_cut_and_reported() -> None:
    limits = CleanLimits(max_description_chars=10)
    cleaned = _clean({"id": "1", "title": "t", "d": "123456789 123"}, {"description": "d"}, limits=limits)
    assert cleaned.product is not None
    assert cleaned.product.description == "123456789"
    assert _reasons(cleaned) == [("description", "description_too_long", False)]


@pytest.mark.parametrize("name", ["max_id_chars", "max_title_chars", "max_description_chars"])
def test_a_limit_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0; allowed: 1 or more"):
        CleanLimits(**{name: 0})


@pytest.mark.parametrize(("title", "locale"), [("Red mug", "en"), ("红色杯子", "zh")])
def test_the_locale_is_detected_when_it_is_missing(title: str, locale: str) -> None:
    for rules in ({}, {"locale_column": "lang"}):
        product = _clean({"id": "1", "title": title, "lang": ""}, rules).product
        assert product is not None
        assert product.locale == locale


def test_variants_are_merged_into_their_product(tmp_path: Path) -> None:
    put_images(tmp_path, {"a.png": make_image(1), "b.png": make_image(2)})
    rules = {
        "price": {"column": "price", "currency": "USD"},
        "images": {"columns": "image"},
        "variants": {"column": "v", "attributes": {"size": "s"}, "images": "i", "price": "p", "in_stock": "n"},
    }
    variants = [
        {"s": "S", "i": "a.png", "p": 5, "n": 0},
        {"s": "M", "i": "b.png", "p": 4, "n": 2},
        {"s": "L", "i": "a.png"},
    ]
    product = _clean({"id": "1", "title": "t", "image": "a.png", "v": variants}, rules, tmp_path).product
    assert product is not None
    assert [image.source for image in product.images] == ["a.png", "b.png"]
    assert product.attributes == {"size": ("S", "M", "L")}
    assert (product.in_stock, product.price) == (True, Money(minor_units=400, currency="USD"))
    with_own_price = _clean(
        {"id": "1", "title": "t", "price": 9, "image": "a.png", "v": variants[:1]}, rules, tmp_path
    ).product
    assert with_own_price is not None
    assert (with_own_price.in_stock, with_own_price.price) == (False, Money(minor_units=900, currency="USD"))


def test_side_files_replace_columns_of_rows_with_their_keys(tmp_path: Path) -> None:
    (tmp_path / "titles.tsv").write_text("id\ttitle\n1\tA\n2\tB\n")
    merge = {"file": "titles.tsv", "key": "id", "columns": ["title"]}
    titles = [
        _clean({"id": key, "title": "old"}, {"merge": [merge | extra]}, tmp_path).product
        for extra in ({}, {"where": {"id": "[02468]$"}})
        for key in ("1", 2, "3")
    ]
    assert [product.title if product else None for product in titles] == ["A", "B", "old", "old", "B", "old"]


def test_a_product_with_bad_images_is_kept(tmp_path: Path) -> None:
    put_images(
        tmp_path, {"torn.png": make_image(1)[:60], "empty.png": b"", "flat.png": flat_image(), "text.png": b"hello"}
    )
    names = ["torn.png", "empty.png", "flat.png", "text.png", "none.png", "../up.png", "http://x/y.png", "\ud83d.png"]
    cleaned = _clean({"id": "1", "title": "t", "i": [*names, 5]}, {"images": {"columns": "i"}}, tmp_path)
    assert cleaned.product is not None
    assert cleaned.product.images == ()
    assert [reject.reason for reject in cleaned.rejects] == [
        ImageFault.UNREADABLE,
        ImageFault.ABSENT,
        ImageFault.PLACEHOLDER,
        ImageFault.UNREADABLE,
        ImageFault.ABSENT,
        Reason.IMAGE_OUTSIDE,
        Reason.IMAGE_OUTSIDE,
        ImageFault.ABSENT,
        Reason.WRONG_TYPE,
    ]
    assert not any(reject.dropped for reject in cleaned.rejects)


def test_a_missing_image_is_reported_only_when_images_are_mapped() -> None:
    raw = {"id": "1", "title": "t", "i": None}
    assert _reasons(_clean(raw, {"images": {"columns": "i"}})) == [("images", "image_absent", False)]
    assert _reasons(_clean(raw, {})) == []


def test_cleaning_is_idempotent() -> None:
    rules = {"description": "d", "brand": "b"}
    raw = {"id": "1", "title": " Ａ &amp; B ", "d": "<p>x</p>", "b": "Ｎｉｋｅ"}
    product = _clean(raw, rules).product
    assert product is not None
    cleaned = {"id": "1", "title": product.title, "d": product.description, "b": product.brand}
    assert _clean(cleaned, rules).product == product


def test_an_unusable_side_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    from intarsia.errors import DataError

    merge = {"merge": [{"file": "side.jsonl", "key": "id", "columns": ["title"]}]}
    write_jsonl(tmp_path / "side.jsonl", [{"id": "1"}])
    with pytest.raises(DataError, match=r"side.jsonl row 1: column is 'title'; allowed: id. Fix: correct merge"):
        _clean({"id": "1", "title": "t"}, merge, tmp_path)
    write_jsonl(tmp_path / "side.jsonl", ["{torn"])
    with pytest.raises(DataError, match="allowed: a readable row"):
        _clean({"id": "1", "title": "t"}, merge, tmp_path)
