"""Unify the spelling of brands, category levels and attribute values: `NIKE`, `Nike`, `Ｎｉｋｅ` become one."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from intarsia.text import fold

_fold = functools.lru_cache(maxsize=100_000)(fold)  # the same brands, levels and values repeat
_MAX_VALUES = 50_000  # a field with more different values is free text, whose spelling is kept
_BRAND, _CATEGORY, _ATTRIBUTE = "brand", "category", "attribute:"

Spellings = Mapping[str, Mapping[str, str]]
"""Field -> folded value -> spelling to use; holds only values that occur in several spellings."""


class SpellingCounter:
    """Counts the spellings in a catalog; the result does not depend on the order of the products."""

    def __init__(self) -> None:
        self._fields: dict[str, dict[str, Counter[str]]] = {}
        self._free_text: set[str] = set()

    def add(self, brand: str, category_path: Iterable[str], attributes: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Count one product."""
        self._add(_BRAND, brand)
        for level in category_path:
            self._add(_CATEGORY, level)
        for name, values in attributes:
            for value in values:
                self._add(_ATTRIBUTE + name, value)

    def most_frequent(self) -> Spellings:
        """The most frequent spelling of each value that has several; on a tie the first in code point order."""
        result: dict[str, dict[str, str]] = {}
        for field, values in sorted(self._fields.items()):
            chosen = {
                folded: min(spellings, key=lambda text: (-spellings[text], text))
                for folded, spellings in sorted(values.items())
                if len(spellings) > 1
            }
            if chosen:
                result[field] = chosen
        return result

    def _add(self, field: str, text: str) -> None:
        if not text or field in self._free_text:
            return
        values = self._fields.setdefault(field, {})
        values.setdefault(_fold(text), Counter())[text] += 1
        if len(values) > _MAX_VALUES:
            self._free_text.add(field)
            del self._fields[field]


def apply_spellings(row: dict[str, Any], spellings: Spellings) -> dict[str, Any]:
    """Replace the spellings in a row of `products`; returns a new row, or `row` itself when `spellings` is empty."""
    if not spellings:
        return row

    def spell(field: str, text: str) -> str:
        values = spellings.get(field)
        return values.get(_fold(text), text) if values else text

    return {
        **row,
        "brand": spell(_BRAND, row["brand"]),
        "category_path": [spell(_CATEGORY, level) for level in row["category_path"]],
        "attributes": [
            (name, [spell(_ATTRIBUTE + name, value) for value in values]) for name, values in row["attributes"]
        ],
    }
