"""Matches the words of a query with the fields of candidates: counts, positions, order, spelling, and named values.

All results are integers and depend on one row only. The features in `themes/` read them.

Letters: C candidates of one query, W distinct words of the query, S words of the query in order, T words of a field
over all candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intarsia.features.catalog_vocabulary import MICRO, VALUE_FIELDS, CatalogWords, NamedValues
from intarsia.features.ragged import lengths, list_numbers, maxima, rectangle, sums
from intarsia.maths.arrays import Bools, Ints
from intarsia.records.feature_matrix import Column, Ragged
from intarsia.records.product_columns import WORD_FIELDS, ProductColumns
from intarsia.text import words

BM25_FIELDS = ("title", "description")
"""Fields long enough for word counts and lengths to be informative."""

MAX_QUERY_WORDS = 32
"""Number of distinct words that are used; further words of a longer query (a pasted product text) are ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryWords:
    """The words of a query.

    Attributes:
        codes_S: codes of all words in order; -1 if no product has the word.
        codes_W: codes of the distinct words, by first appearance.
        words_W: the distinct words.
    """

    codes_S: NDArray[np.int32]
    codes_W: NDArray[np.int32]
    words_W: tuple[str, ...]

    @classmethod
    def of(cls, text: str | None, catalog: CatalogWords) -> QueryWords:
        """Split a query's text; without a text there are no words."""
        words_S = words(text) if text else []
        words_W = tuple(dict.fromkeys(words_S))[:MAX_QUERY_WORDS]
        return cls(
            codes_S=catalog.codes(words_S[: 2 * MAX_QUERY_WORDS]), codes_W=catalog.codes(list(words_W)), words_W=words_W
        )


def word_columns(query: QueryWords, rows_C: Ints, columns: ProductColumns, catalog: CatalogWords) -> dict[str, Column]:
    """Frame columns that match query words and product fields; lists are aligned with `query_words`."""
    num_rows, num_words = len(rows_C), len(query.codes_W)
    slots = _Slots.of(query.codes_W, len(catalog.code_of))
    frame: dict[str, Column] = {}
    for field in WORD_FIELDS:
        field_words = columns.words[field].take(rows_C)
        slot_T = slots.of_words(field_words.values)
        frame[f"{field}_counts"] = rectangle(_counts(field_words, slot_T, num_words))
        if field in BM25_FIELDS:
            frame[f"{field}_length"] = lengths(field_words)
            frame[f"{field}_average_length"] = np.full(num_rows, catalog.average_lengths[field])
        if field == "title":
            frame["title_firsts"] = rectangle(_firsts(field_words, slot_T, num_words))
            frame["title_hits"] = sums(slot_T >= 0, field_words.offsets)
            frame["title_run"], frame["title_pairs"] = _runs(field_words, query.codes_S)
            frame["title_similarities"] = rectangle(_similarities(field_words, query, catalog, slot_T))
    frame["query_words"] = rectangle(np.tile(query.codes_W, (num_rows, 1)))
    frame["query_idf_micro"] = rectangle(np.tile(catalog.idf_micro(query.codes_W), (num_rows, 1)))
    frame["query_length"] = np.full(num_rows, len(query.codes_S), np.int64)
    is_number_W = np.array([any(c.isdigit() for c in word) for word in query.words_W], np.int32)
    frame["query_is_number"] = rectangle(np.tile(is_number_W, (num_rows, 1)))
    for field in VALUE_FIELDS:
        is_value_W = _flags_of(catalog.is_value_word[field], query.codes_W)
        frame[f"query_is_{field}_word"] = rectangle(np.tile(is_value_W, (num_rows, 1)))
    return frame


def value_columns(query: QueryWords, rows_C: Ints, columns: ProductColumns, catalog: CatalogWords) -> dict[str, Column]:
    """Frame columns: which brands, categories and attribute values the query names in full, and which a product has."""
    codes = query.codes_W[query.codes_W >= 0]
    brands = columns.brand[rows_C].astype(np.int64)
    values_of_rows = {
        "brand": Ragged(
            brands[brands >= 0].astype(np.int32), np.concatenate([[0], np.cumsum(brands >= 0)]).astype(np.int64)
        ),
        "category": columns.categories.take(rows_C),
        "attributes": columns.attributes.take(rows_C),
    }
    frame: dict[str, Column] = {}
    for field, row_values in values_of_rows.items():
        values = catalog.values[field]
        requested = values.named_in(codes)
        is_requested_A = np.zeros(len(values.name_A), np.bool_)
        is_requested_A[requested] = True
        requested_T = is_requested_A[row_values.values]
        frame[f"{field}_values"] = lengths(row_values)
        frame[f"{field}_named"] = sums(requested_T, row_values.offsets)
        if field == "attributes":
            frame |= _attribute_columns(values, requested, row_values, requested_T)
        else:
            frame[f"{field}_requested"] = np.full(len(rows_C), len(requested), np.int64)
    return frame


@dataclass(frozen=True, slots=True)
class _Slots:
    """Position in the query's distinct words of each catalog word, -1 for a word that the query does not have."""

    slot_V: NDArray[np.int16]

    @classmethod
    def of(cls, codes_W: NDArray[np.int32], num_words: int) -> _Slots:
        slot_V = np.full(num_words, -1, np.int16)
        known_W = codes_W >= 0
        slot_V[codes_W[known_W]] = np.flatnonzero(known_W)
        return cls(slot_V)

    def of_words(self, codes_T: NDArray[np.int32]) -> NDArray[np.int16]:
        return self.slot_V[codes_T]


def _flags_of(flag_V: Bools, codes_W: NDArray[np.int32]) -> NDArray[np.int32]:
    flag_W = np.zeros(len(codes_W), np.int32)
    flag_W[codes_W >= 0] = flag_V[codes_W[codes_W >= 0]]
    return flag_W


def _counts(field_words: Ragged, slot_T: NDArray[np.int16], num_words: int) -> Ints:
    """int64 [C, W]: how often each query word occurs in the field."""
    hit = np.flatnonzero(slot_T >= 0)
    row = np.searchsorted(field_words.offsets, hit, side="right") - 1
    return np.bincount(row * num_words + slot_T[hit], minlength=len(field_words) * num_words).reshape(
        len(field_words), num_words
    )


def _firsts(field_words: Ragged, slot_T: NDArray[np.int16], num_words: int) -> Ints:
    """int64 [C, W]: position, from 0, of the first occurrence of each query word in the field; -1 without any."""
    hit = np.flatnonzero(slot_T >= 0)[::-1]  # backwards, so that the first occurrence is written last
    row = np.searchsorted(field_words.offsets, hit, side="right") - 1
    first_CW = np.full((len(field_words), num_words), -1, np.int64)
    first_CW[row, slot_T[hit]] = hit - field_words.offsets[row]
    return first_CW


def _runs(field_words: Ragged, codes_S: NDArray[np.int32]) -> tuple[Ints, Ints]:
    """Longest run of query words that is a run of the field, and the number of such adjacent pairs: [C] each."""
    longest_T = np.zeros(len(field_words.values), np.int64)
    pairs_C = np.zeros(len(field_words), np.int64)
    if not len(field_words.values):
        return np.zeros(len(field_words), np.int64), pairs_C
    starts = field_words.offsets[:-1][lengths(field_words) > 0]
    run_T = longest_T
    for code in codes_S:
        before_T = np.concatenate([[0], run_T[:-1]])
        before_T[starts] = 0
        run_T = np.where(field_words.values == code, before_T + 1, 0) if code >= 0 else np.zeros_like(run_T)
        longest_T = np.maximum(longest_T, run_T)
        pairs_C += maxima(run_T, field_words.offsets, of_empty=0) >= 2
    return maxima(longest_T, field_words.offsets, of_empty=0), pairs_C


def _similarities(field_words: Ragged, query: QueryWords, catalog: CatalogWords, slot_T: NDArray[np.int16]) -> Ints:
    """int64 [C, W]: spelling similarity of each query word and the field's most similar word, in millionths."""
    similarity_CW = np.zeros((len(field_words), len(query.codes_W)), np.int64)
    in_use_V = np.zeros(len(catalog.code_of), np.bool_)
    in_use_V[field_words.values] = True
    codes = np.flatnonzero(in_use_V)
    position_V = np.empty(len(catalog.code_of), np.int64)
    position_V[codes] = np.arange(len(codes))
    position_T = position_V[field_words.values]
    for w, similarity in enumerate(catalog.similarities_micro(query.words_W, codes)):
        similarity_CW[:, w] = maxima(similarity[position_T], field_words.offsets, of_empty=0)
    equal = np.flatnonzero(slot_T >= 0)
    similarity_CW[list_numbers(field_words)[equal], slot_T[equal]] = MICRO
    return similarity_CW


def _attribute_columns(
    values: NamedValues, requested: Ints, row_values: Ragged, requested_T: Bools
) -> Mapping[str, Column]:
    """Attributes for which the query names a value (colour: red): number, number present, number that agree."""
    num_rows = len(row_values)
    names = np.unique(values.name_A[requested])
    position_M = np.full(values.num_names, -1, np.int64)
    position_M[names] = np.arange(len(names))
    position_T = position_M[values.name_A[row_values.values]]
    cell_T = list_numbers(row_values) * len(names) + position_T
    present = np.zeros(num_rows * len(names), np.bool_)
    present[cell_T[position_T >= 0]] = True
    agreed = np.zeros(num_rows * len(names), np.bool_)
    agreed[cell_T[requested_T]] = True
    return {
        "attributes_requested": np.full(num_rows, len(names), np.int64),
        "attributes_present": present.reshape(num_rows, len(names)).sum(axis=1),
        "attributes_agreed": agreed.reshape(num_rows, len(names)).sum(axis=1),
    }
