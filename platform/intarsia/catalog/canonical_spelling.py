"""One spelling for what is the same word: `NIKE`, `Nike` and `Ｎｉｋｅ` are one brand, one category level, one attribute value."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from intarsia.text import fold

_fold = functools.lru_cache(maxsize=100_000)(fold)  # brands, levels and values come again and again
_MAX_VALUES = 50_000  # different values of one field: above it is free text, where spelling is the writer's own
BRAND, CATEGORY, ATTRIBUTE = "brand", "category", "attribute:"

Spellings = Mapping[str, Mapping[str, str]]
"""Field -> folded value -> the spelling to use; only values of several spellings are there."""


class SpellingCount:
    """Counts the spellings of a whole catalog, piece by piece; the result does not depend on the order."""

    def __init__(self) -> None:
        self._fields: dict[str, dict[str, Counter[str]]] = {}
        self._free_text: set[str] = set()

    def add(self, brand: str, category_path: Iterable[str], attributes: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Count one product."""
        self._add(BRAND, brand)
        for level in category_path:
            self._add(CATEGORY, level)
        for name, values in attributes:
            for value in values:
                self._add(ATTRIBUTE + name, value)

    def chosen(self) -> Spellings:
        """The most frequent spelling of each value that has several; of equally frequent ones the first in code point order."""
        result: dict[str, dict[str, str]] = {}
        for field, values in sorted(self._fields.items()):
            several = {
                folded: min(spellings, key=lambda text: (-spellings[text], text))
                for folded, spellings in sorted(values.items())
                if len(spellings) > 1
            }
            if several:
                result[field] = several
        return result

    def _add(self, field: str, text: str) -> None:
        if not text or field in self._free_text:
            return
        values = self._fields.setdefault(field, {})
        values.setdefault(_fold(text), Counter())[text] += 1
        if len(values) > _MAX_VALUES:
            self._free_text.add(field)
            del self._fields[field]


def respelled(row: dict[str, Any], spellings: Spellings) -> dict[str, Any]:
    """A row of `products` with the chosen spellings."""
    if not spellings:
        return row

    def spell(field: str, text: str) -> str:
        values = spellings.get(field)
        return values.get(_fold(text), text) if values else text

    return {
        **row,
        "brand": spell(BRAND, row["brand"]),
        "category_path": [spell(CATEGORY, level) for level in row["category_path"]],
        "attributes": [
            (name, [spell(ATTRIBUTE + name, value) for value in values]) for name, values in row["attributes"]
        ],
    }
