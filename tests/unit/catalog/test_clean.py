from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from intarsia.catalog.clean import Cleaned, CleanLimits, RowCleaner
from intarsia.catalog.raw_rows import Defect, RawRow
from intarsia.catalog.validate import Reason
from intarsia.image import ImageFault
from intarsia.records.product import Money
from tests.unit.catalog.shop_files import flat_image, make_image, mapping, put_images, write_jsonl


def _clean(
    raw: Mapping[str, Any] | Defect, rules: Mapping[str, Any], folder: Path = Path(), limits: CleanLimits | None = None
) -> Cleaned:
    return RowCleaner(mapping(**rules), folder, limits).clean("shop.jsonl", RawRow(7, raw))


def _reasons(cleaned: Cleaned) -> list[tuple[str, str, bool]]:
    return [(reject.field, reject.reason.value, reject.lost) for reject in cleaned.rejects]


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
        ({"id": "1", "title": "t", "p": "-1"}, {"price": {"column": "p", "currency": "USD"}}, "price", Reason.PRICE_NEGATIVE),
        ({"id": "1", "title": "t", "p": "1"}, {"price": {"column": "p"}}, "currency", Reason.CURRENCY_UNKNOWN),
        ({"id": "1", "title": "t", "l": "de"}, {"locale_column": "l"}, "l", Reason.LOCALE_UNKNOWN),
        ({"id": "1", "title": "t", "u": "soon"}, {"updated_at": "u"}, "u", Reason.DATE_UNPARSABLE),
        ({"id": "1", "title": "t", "s": "maybe"}, {"in_stock": "s"}, "s", Reason.STOCK_UNPARSABLE),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_a_product_is_lost_with_one_reason(
    raw: dict[str, Any], rules: dict[str, Any], field: str, reason: Reason
) -> None:
    cleaned = _clean(raw, rules)
    assert cleaned.product is None
    assert cleaned.image_bytes == ()
    assert _reasons(cleaned) == [(field, reason.value, True)]
    assert (cleaned.rejects[0].file, cleaned.rejects[0].row) == ("shop.jsonl", 7)
    assert cleaned.rejects[0].fix


def test_a_row_that_cannot_be_read_is_lost_with_the_reason_of_the_reader() -> None:
    cleaned = _clean(Defect(reason=Reason.BROKEN_JSON, found='{"a', fix="close it"), {})
    assert _reasons(cleaned) == [("row", "broken_json", True)]
    assert (cleaned.rejects[0].found, cleaned.rejects[0].fix) == ('{"a', "close it")


def test_lists_in_lists_without_end_lose_their_row_and_not_the_run() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert _reasons(_clean({"id": "1", "title": "t", "a": deep}, {"attributes": {"a": "a"}})) == [
        ("row", "wrong_type", True)
    ]


def test_placeholder_texts_mean_nothing_and_a_description_that_is_one_is_told() -> None:
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


def test_a_missing_category_is_told_and_the_product_stays() -> None:
    cleaned = _clean({"id": "1", "title": "t", "c": []}, {"category": {"columns": "c"}})
    assert cleaned.product is not None
    assert _reasons(cleaned) == [("category", "category_missing", False)]


def test_an_endless_description_is_cut_and_told() -> None:
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
def test_the_locale_is_detected_where_nobody_says_it(title: str, locale: str) -> None:
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
    own = _clean({"id": "1", "title": "t", "price": 9, "image": "a.png", "v": variants[:1]}, rules, tmp_path).product
    assert own is not None
    assert (own.in_stock, own.price) == (False, Money(minor_units=900, currency="USD"))


def test_side_files_replace_columns_of_the_rows_they_name(tmp_path: Path) -> None:
    (tmp_path / "titles.tsv").write_text("id\ttitle\n1\tA\n2\tB\n")
    merge = {"file": "titles.tsv", "key": "id", "columns": ["title"]}
    titles = [
        _clean({"id": key, "title": "old"}, {"merge": [merge | extra]}, tmp_path).product
        for extra in ({}, {"where": {"id": "[02468]$"}})
        for key in ("1", 2, "3")
    ]
    assert [product.title if product else None for product in titles] == ["A", "B", "old", "old", "B", "old"]


def test_a_bad_image_never_loses_its_product(tmp_path: Path) -> None:
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
    assert not any(reject.lost for reject in cleaned.rejects)


def test_a_product_without_a_image_is_told_only_where_images_are_mapped() -> None:
    raw = {"id": "1", "title": "t", "i": None}
    assert _reasons(_clean(raw, {"images": {"columns": "i"}})) == [("images", "image_absent", False)]
    assert _reasons(_clean(raw, {})) == []


def test_the_same_row_gives_the_same_product_when_its_clean_texts_are_cleaned_again() -> None:
    rules = {"description": "d", "brand": "b"}
    raw = {"id": "1", "title": " Ａ &amp; B ", "d": "<p>x</p>", "b": "Ｎｉｋｅ"}
    once = _clean(raw, rules).product
    assert once is not None
    assert _clean({"id": "1", "title": once.title, "d": once.description, "b": once.brand}, rules).product == once


def test_a_side_file_that_cannot_be_used_is_said_by_name(tmp_path: Path) -> None:
    from intarsia.errors import DataError

    merge = {"merge": [{"file": "side.jsonl", "key": "id", "columns": ["title"]}]}
    write_jsonl(tmp_path / "side.jsonl", [{"id": "1"}])
    with pytest.raises(DataError, match=r"side.jsonl row 1: column is 'title'; allowed: id. Fix: correct merge"):
        _clean({"id": "1", "title": "t"}, merge, tmp_path)
    write_jsonl(tmp_path / "side.jsonl", ["{torn"])
    with pytest.raises(DataError, match="allowed: a readable row"):
        _clean({"id": "1", "title": "t"}, merge, tmp_path)
