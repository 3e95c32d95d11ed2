"""The catalog's vocabulary: idf and trigrams of each word, and the brands, categories and attribute values it names.

Computed once per release from the columns; `matching.py` looks up the words of a query in it.

Letters: N products, V words, A values (of attributes, brands or categories), M names of attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intarsia.features.ragged import lengths, list_numbers, lists, sums
from intarsia.records.feature_matrix import Ragged
from intarsia.records.product_columns import CATEGORY_SEPARATOR, WORD_FIELDS, ProductColumns
from intarsia.text import words

MICRO = 1_000_000
"""Weights and similarities are integers in millionths, so that sums are exact in any order."""

KeyPart = Callable[[str], str]

VALUE_FIELDS = ("brand", "category", "attributes")
"""Fields with short values that a query can name in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedValues:
    """The catalog's values of one field, and the words that name them.

    Attributes:
        words: the distinct words of each value; empty for a value with a word that no product has.
        values_by_word: the values that contain each word.
        name_A: attribute name of each value, as a code (colour: red, blue); brands and categories have one name.
        num_names: M.
    """

    words: Ragged
    values_by_word: Ragged
    name_A: NDArray[np.int32]
    num_names: int

    def named_in(self, codes: NDArray[np.int32]) -> NDArray[np.int64]:
        """The values whose words are all among `codes` (unique, known), ascending."""
        candidates = self.values_by_word.take(codes.astype(np.int64)).values
        values, num_words = np.unique(candidates, return_counts=True)
        complete = num_words == lengths(self.words)[values]
        return np.asarray(values[complete], np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogWords:
    """The vocabulary of one catalog.

    Attributes:
        code_of: word -> code.
        idf_micro_V: BM25's idf over whole products, in millionths.
        unseen_idf_micro: idf of a word that no product has.
        average_lengths: field -> mean number of words.
        is_value_word: field of VALUE_FIELDS -> which words occur in it, bool [V].
        trigram_code: character trigram -> code.
        trigrams: for each word the codes of its distinct character trigrams.
        values: field of VALUE_FIELDS -> its values.
    """

    code_of: Mapping[str, int]
    idf_micro_V: NDArray[np.int64]
    unseen_idf_micro: int
    average_lengths: Mapping[str, float]
    is_value_word: Mapping[str, NDArray[np.bool_]]
    trigram_code: Mapping[str, int]
    trigrams: Ragged
    values: Mapping[str, NamedValues]

    @classmethod
    def of(cls, columns: ProductColumns) -> CatalogWords:
        """Read the whole catalog."""
        code_of = columns.vocabularies["word"]
        num_words = len(code_of)
        trigram_code: dict[str, int] = {}
        spellings = [""] * num_words
        for word, code in code_of.items():
            spellings[code] = word
        trigrams = lists([[trigram_code.setdefault(t, len(trigram_code)) for t in trigrams_of(w)] for w in spellings])
        is_value_word = {field: np.zeros(num_words, np.bool_) for field in VALUE_FIELDS}
        for field, occurs_V in is_value_word.items():
            occurs_V[columns.words[field].values] = True
        return cls(
            code_of=code_of,
            idf_micro_V=_idf_micro(_document_counts(columns, num_words), columns.num_rows),
            unseen_idf_micro=int(_idf_micro(np.zeros(1, np.int64), columns.num_rows)[0]),
            average_lengths={
                field: len(columns.words[field].values) / max(columns.num_rows, 1) for field in WORD_FIELDS
            },
            is_value_word=is_value_word,
            trigram_code=trigram_code,
            trigrams=trigrams,
            values={
                "brand": _named_values(columns.vocabularies["brand"], code_of, _whole, _one_name),
                "category": _named_values(columns.vocabularies["category"], code_of, _last_part, _one_name),
                "attributes": _named_values(columns.vocabularies["attribute"], code_of, _value_part, _name_part),
            },
        )

    def codes(self, query_words: list[str]) -> NDArray[np.int32]:
        """int32 [W]: code of each word, -1 if no product has it."""
        return np.array([self.code_of.get(word, -1) for word in query_words], np.int32)

    def idf_micro(self, codes_W: NDArray[np.int32]) -> NDArray[np.int64]:
        """int64 [W]: idf of each word, in millionths."""
        idf_W = np.full(len(codes_W), self.unseen_idf_micro, np.int64)
        idf_W[codes_W >= 0] = self.idf_micro_V[codes_W[codes_W >= 0]]
        return idf_W

    def similarities_micro(self, spellings: Sequence[str], codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Dice similarity of the trigrams of words and of catalog words, in millionths: int64 [spellings, codes]."""
        catalog_trigrams = self.trigrams.take(codes)
        num_catalog_trigrams = lengths(catalog_trigrams)
        similarities = np.zeros((len(spellings), len(codes)), np.int64)
        for w, word in enumerate(spellings):
            trigrams = trigrams_of(word)
            in_word = np.zeros(len(self.trigram_code) + 1, np.bool_)
            in_word[[self.trigram_code.get(t, -1) for t in trigrams]] = True
            in_word[-1] = False  # unknown trigrams were written there
            num_common = sums(in_word[catalog_trigrams.values], catalog_trigrams.offsets)
            similarities[w] = 2 * MICRO * num_common // np.maximum(len(trigrams) + num_catalog_trigrams, 1)
        return similarities


def trigrams_of(word: str) -> list[str]:
    """The distinct character trigrams of a word, with its ends marked, in order.

    >>> trigrams_of("red")
    ['<re', 'red', 'ed>']
    """
    marked = f"<{word}>"
    return list(dict.fromkeys(marked[i : i + 3] for i in range(len(marked) - 2)))


def _document_counts(columns: ProductColumns, num_words: int) -> NDArray[np.int64]:
    keys = [list_numbers(columns.words[f]) * num_words + columns.words[f].values for f in WORD_FIELDS]
    codes = np.unique(np.concatenate(keys)) % max(num_words, 1)  # counts a word once per product
    return np.asarray(np.bincount(codes, minlength=num_words), np.int64)


def _idf_micro(num_documents_V: NDArray[np.int64], num_products: int) -> NDArray[np.int64]:
    idf_V = np.log1p((num_products - num_documents_V + 0.5) / (num_documents_V + 0.5))
    return np.asarray(np.rint(idf_V * MICRO), np.int64)


def _whole(key: str) -> str:
    return key


def _last_part(key: str) -> str:
    return key.rpartition(CATEGORY_SEPARATOR)[2]


def _value_part(key: str) -> str:
    return key.partition("=")[2]


def _name_part(key: str) -> str:
    return key.partition("=")[0]


def _one_name(key: str) -> str:
    return ""


def _named_values(
    vocabulary: Mapping[str, int], code_of: Mapping[str, int], text_of: KeyPart, name_of: KeyPart
) -> NamedValues:
    """Index the values by their words; a value with a word that no product has cannot be named."""
    words_A: list[list[int]] = [[] for _ in vocabulary]
    name_code: dict[str, int] = {}
    name_A = np.zeros(len(vocabulary), np.int32)
    for key, value in vocabulary.items():
        name_A[value] = name_code.setdefault(name_of(key), len(name_code))
        codes = [code_of.get(word, -1) for word in dict.fromkeys(words(text_of(key)))]
        words_A[value] = codes if -1 not in codes else []
    values_V: list[list[int]] = [[] for _ in code_of]
    for value, codes in enumerate(words_A):
        for code in codes:
            values_V[code].append(value)
    return NamedValues(words=lists(words_A), values_by_word=lists(values_V), name_A=name_A, num_names=len(name_code))
