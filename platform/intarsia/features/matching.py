"""A query's words against the candidates' fields: how often, where, in which order, how similar; and which values the query asks for.

All results are integers and belong to one row alone. What they mean for relevance is `themes/`' matter.

Letters: C candidates of one query, W distinct words of the query, S words of the query in order, T words of a field over all candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intarsia.features.catalog_vocabulary import MICRO, VALUE_FIELDS, CatalogWords, NamedValues
from intarsia.features.ragged import lengths, maxima, rectangle, rows_of, sums
from intarsia.records.feature_matrix import Column, Ragged
from intarsia.records.product_columns import WORD_FIELDS, ProductColumns
from intarsia.text import words

BM25_FIELDS = ("title", "description")
"""Fields long enough for counts and lengths to tell something."""

MAX_QUERY_WORDS = 32
"""Distinct words that are looked at; the rest of a longer query (a pasted product text) is ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryWords:
    """The words of a query: in order (`codes_S`), and each once in order of first appearance (`codes_W`, `spelt_W`); -1 is unknown."""

    codes_S: NDArray[np.int32]
    codes_W: NDArray[np.int32]
    spelt_W: tuple[str, ...]

    @classmethod
    def of(cls, text: str | None, catalog: CatalogWords) -> QueryWords:
        """Read a query's text; without one there are no words."""
        spelt_S = words(text) if text else []
        spelt_W = tuple(dict.fromkeys(spelt_S))[:MAX_QUERY_WORDS]
        return cls(
            codes_S=catalog.codes(spelt_S[: 2 * MAX_QUERY_WORDS]), codes_W=catalog.codes(list(spelt_W)), spelt_W=spelt_W
        )


def word_columns(
    query: QueryWords, rows_C: NDArray[np.int64], columns: ProductColumns, catalog: CatalogWords
) -> dict[str, Column]:
    """The frame columns that join query words and product fields; lists are aligned with `query_words`."""
    num_rows, num_words = len(rows_C), len(query.codes_W)
    slots = _Slots.of(query.codes_W, len(catalog.code_of))
    found: dict[str, Column] = {}
    for field in WORD_FIELDS:
        listed = columns.words[field].take(rows_C)
        slot_T = slots.of_words(listed.values)
        found[f"{field}_counts"] = rectangle(_counts(listed, slot_T, num_words))
        if field in BM25_FIELDS:
            found[f"{field}_length"] = lengths(listed)
            found[f"{field}_average_length"] = np.full(num_rows, catalog.average_lengths[field])
        if field == "title":
            found["title_firsts"] = rectangle(_firsts(listed, slot_T, num_words))
            found["title_hits"] = sums(slot_T >= 0, listed.offsets)
            found["title_run"], found["title_pairs"] = _runs(listed, query.codes_S)
            found["title_similarities"] = rectangle(_similarities(listed, query, catalog, slot_T))
    found["query_words"] = rectangle(np.tile(query.codes_W, (num_rows, 1)))
    found["query_idf_micro"] = rectangle(np.tile(catalog.idf_micro(query.codes_W), (num_rows, 1)))
    found["query_length"] = np.full(num_rows, len(query.codes_S), np.int64)
    number_W = np.array([any(c.isdigit() for c in word) for word in query.spelt_W], np.int32)
    found["query_is_number"] = rectangle(np.tile(number_W, (num_rows, 1)))
    for field in VALUE_FIELDS:
        value_W = _known(catalog.is_value_word[field], query.codes_W)
        found[f"query_is_{field}_word"] = rectangle(np.tile(value_W, (num_rows, 1)))
    return found


def value_columns(
    query: QueryWords, rows_C: NDArray[np.int64], columns: ProductColumns, catalog: CatalogWords
) -> dict[str, Column]:
    """The frame columns that say which brands, categories and attribute values the query names in full, and which of them a product has."""
    codes = query.codes_W[query.codes_W >= 0]
    brands = columns.brand[rows_C].astype(np.int64)
    held = {
        "brand": Ragged(
            brands[brands >= 0].astype(np.int32), np.concatenate([[0], np.cumsum(brands >= 0)]).astype(np.int64)
        ),
        "category": columns.categories.take(rows_C),
        "attributes": columns.attributes.take(rows_C),
    }
    found: dict[str, Column] = {}
    for field, mine in held.items():
        values = catalog.values[field]
        asked = values.named_in(codes)
        is_asked = np.zeros(len(values.name_A), np.bool_)
        is_asked[asked] = True
        asked_T = is_asked[mine.values]
        found[f"{field}_values"] = lengths(mine)
        found[f"{field}_named"] = sums(asked_T, mine.offsets)
        if field == "attributes":
            found |= _asked_names(values, asked, mine, asked_T)
        else:
            found[f"{field}_asked"] = np.full(len(rows_C), len(asked), np.int64)
    return found


@dataclass(frozen=True, slots=True)
class _Slots:
    """Looks up which word of the query a catalog word is: -1 none."""

    slot_V: NDArray[np.int16]

    @classmethod
    def of(cls, codes_W: NDArray[np.int32], num_words: int) -> _Slots:
        slot_V = np.full(num_words, -1, np.int16)
        known_W = codes_W >= 0
        slot_V[codes_W[known_W]] = np.flatnonzero(known_W)
        return cls(slot_V)

    def of_words(self, codes_T: NDArray[np.int32]) -> NDArray[np.int16]:
        return self.slot_V[codes_T]


def _known(flag_V: NDArray[np.bool_], codes_W: NDArray[np.int32]) -> NDArray[np.int32]:
    found_W = np.zeros(len(codes_W), np.int32)
    found_W[codes_W >= 0] = flag_V[codes_W[codes_W >= 0]]
    return found_W


def _counts(listed: Ragged, slot_T: NDArray[np.int16], num_words: int) -> NDArray[np.int64]:
    """int64 [C, W]: how often each query word stands in the field."""
    hit = np.flatnonzero(slot_T >= 0)
    row = np.searchsorted(listed.offsets, hit, side="right") - 1
    return np.bincount(row * num_words + slot_T[hit], minlength=len(listed) * num_words).reshape(len(listed), num_words)


def _firsts(listed: Ragged, slot_T: NDArray[np.int16], num_words: int) -> NDArray[np.int64]:
    """int64 [C, W]: the place, from 0, where each query word stands first in the field; -1 nowhere."""
    hit = np.flatnonzero(slot_T >= 0)[::-1]  # backwards, so that the first place is written last
    row = np.searchsorted(listed.offsets, hit, side="right") - 1
    first_CW = np.full((len(listed), num_words), -1, np.int64)
    first_CW[row, slot_T[hit]] = hit - listed.offsets[row]
    return first_CW


def _runs(listed: Ragged, codes_S: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per candidate the longest run of query words that stand together and in order in the field, and how many adjacent pairs do."""
    longest_T = np.zeros(len(listed.values), np.int64)
    pairs_C = np.zeros(len(listed), np.int64)
    if not len(listed.values):
        return np.zeros(len(listed), np.int64), pairs_C
    starts = listed.offsets[:-1][lengths(listed) > 0]
    run_T = longest_T
    for code in codes_S:
        before_T = np.concatenate([[0], run_T[:-1]])
        before_T[starts] = 0
        run_T = np.where(listed.values == code, before_T + 1, 0) if code >= 0 else np.zeros_like(run_T)
        longest_T = np.maximum(longest_T, run_T)
        pairs_C += maxima(run_T, listed.offsets, of_empty=0) >= 2
    return maxima(longest_T, listed.offsets, of_empty=0), pairs_C


def _similarities(
    listed: Ragged, query: QueryWords, catalog: CatalogWords, slot_T: NDArray[np.int16]
) -> NDArray[np.int64]:
    """int64 [C, W]: for each query word how alike the most similarly spelt word of the field is, in millionths; MICRO for itself."""
    similar_CW = np.zeros((len(listed), len(query.codes_W)), np.int64)
    in_use_V = np.zeros(len(catalog.code_of), np.bool_)
    in_use_V[listed.values] = True
    codes = np.flatnonzero(in_use_V)
    place_V = np.empty(len(catalog.code_of), np.int64)
    place_V[codes] = np.arange(len(codes))
    place_T = place_V[listed.values]
    for w, similar in enumerate(catalog.similarities_micro(query.spelt_W, codes)):
        similar_CW[:, w] = maxima(similar[place_T], listed.offsets, of_empty=0)
    here = np.flatnonzero(slot_T >= 0)
    similar_CW[rows_of(listed)[here], slot_T[here]] = MICRO
    return similar_CW


def _asked_names(
    values: NamedValues, asked: NDArray[np.int64], mine: Ragged, asked_T: NDArray[np.bool_]
) -> Mapping[str, Column]:
    """Of the attributes the query gives a value for (colour: red): how many, how many the product has, and has with that very value."""
    num_rows = len(mine)
    names = np.unique(values.name_A[asked])
    place_M = np.full(values.num_names, -1, np.int64)
    place_M[names] = np.arange(len(names))
    place_T = place_M[values.name_A[mine.values]]
    cell_T = rows_of(mine) * len(names) + place_T
    told = np.zeros(num_rows * len(names), np.bool_)
    told[cell_T[place_T >= 0]] = True
    agreed = np.zeros(num_rows * len(names), np.bool_)
    agreed[cell_T[asked_T]] = True
    return {
        "attributes_asked": np.full(num_rows, len(names), np.int64),
        "attributes_told": told.reshape(num_rows, len(names)).sum(axis=1),
        "attributes_agreed": agreed.reshape(num_rows, len(names)).sum(axis=1),
    }
