from __future__ import annotations

import pytest

from intarsia.catalog.canonical_spelling import SpellingCount, respelled


def _count(*products: tuple[str, list[str], list[tuple[str, list[str]]]]) -> SpellingCount:
    count = SpellingCount()
    for product in products:
        count.add(*product)
    return count


def test_the_most_frequent_spelling_counts_for_brand_category_and_attributes() -> None:
    nike = [("Nike", ["Home"], [("colour", ["Red"])])] * 2
    chosen = _count(*nike, ("NIKE", ["HOME"], [("colour", ["red"])]), ("ＮＩＫＥ", [], []), ("Muji", [], [])).chosen()
    assert chosen == {"brand": {"nike": "Nike"}, "category": {"home": "Home"}, "attribute:colour": {"red": "Red"}}
    row = {
        "brand": "NIKE",
        "category_path": ["HOME", "Mugs"],
        "attributes": [("colour", ["red", "blue"])],
        "title": "x",
    }
    assert respelled(row, chosen) == {
        "brand": "Nike",
        "category_path": ["Home", "Mugs"],
        "attributes": [("colour", ["Red", "blue"])],
        "title": "x",
    }
    assert respelled(row, {}) is row


def test_of_equally_frequent_spellings_the_first_in_code_point_order_counts_whatever_the_order() -> None:
    products = [("nike", [], []), ("Nike", [], []), ("NIKE", [], [])]
    assert _count(*products).chosen() == _count(*reversed(products)).chosen() == {"brand": {"nike": "NIKE"}}


def test_free_text_keeps_its_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.catalog.canonical_spelling._MAX_VALUES", 2)
    notes = [("", [], [("note", [text])]) for text in ("a", "A", "b", "c", "a")]
    assert _count(*notes).chosen() == {}
    assert _count(*notes[:3]).chosen() == {"attribute:note": {"a": "A"}}
