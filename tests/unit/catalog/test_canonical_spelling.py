from __future__ import annotations

import pytest

from intarsia.catalog.canonical_spelling import SpellingCounter, apply_spellings


def _count(*products: tuple[str, list[str], list[tuple[str, list[str]]]]) -> SpellingCounter:
    count = SpellingCounter()
    for product in products:
        count.add(*product)
    return count


def test_the_most_frequent_spelling_is_used_for_all_fields() -> None:
    nike = [("Nike", ["Home"], [("colour", ["Red"])])] * 2
    spellings = _count(
        *nike, ("NIKE", ["HOME"], [("colour", ["red"])]), ("ＮＩＫＥ", [], []), ("Muji", [], [])
    ).most_frequent()
    assert spellings == {"brand": {"nike": "Nike"}, "category": {"home": "Home"}, "attribute:colour": {"red": "Red"}}
    row = {
        "brand": "NIKE",
        "category_path": ["HOME", "Mugs"],
        "attributes": [("colour", ["red", "blue"])],
        "title": "x",
    }
    assert apply_spellings(row, spellings) == {
        "brand": "Nike",
        "category_path": ["Home", "Mugs"],
        "attributes": [("colour", ["Red", "blue"])],
        "title": "x",
    }
    assert apply_spellings(row, {}) is row


def test_ties_go_to_the_first_spelling_in_code_point_order() -> None:
    products = [("nike", [], []), ("Nike", [], []), ("NIKE", [], [])]
    assert (
        _count(*products).most_frequent() == _count(*reversed(products)).most_frequent() == {"brand": {"nike": "NIKE"}}
    )


def test_free_text_keeps_its_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.catalog.canonical_spelling._MAX_VALUES", 2)
    notes = [("", [], [("note", [text])]) for text in ("a", "A", "b", "c", "a")]
    assert _count(*notes).most_frequent() == {}
    assert _count(*notes[:3]).most_frequent() == {"attribute:note": {"a": "A"}}
