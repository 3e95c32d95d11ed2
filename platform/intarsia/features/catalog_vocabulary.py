"""What the catalog's own words tell: how rare each is, which are brands, categories and attribute values, and how they are spelt.

Computed once per release from the columns; the queries' side is `matching.py`'s matter.

Letters: N products, V words, A values (of attributes, brands or categories), M names of attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intarsia.features.ragged import lengths, lists, rows_of, sums
from intarsia.records.feature_matrix import Ragged
from intarsia.records.product_columns import CATEGORY_SEPARATOR, WORD_FIELDS, ProductColumns
from intarsia.text import words

MICRO = 1_000_000
"""Weights and similarities are kept in millionths, as integers: their sums are exact in any order."""

KeyPart = Callable[[str], str]

VALUE_FIELDS = ("brand", "category", "attributes")
"""Fields whose words name what a product is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedValues:
    """The catalog's values of one kind, by the words that name them.

    `words` lists each value's words, `values_by_word` each word's values; `name_A` groups the values of one name (colour: red, blue).
    """

    words: Ragged
    values_by_word: Ragged
    name_A: NDArray[np.int32]
    num_names: int

    def named_in(self, codes: NDArray[np.int32]) -> NDArray[np.int64]:
        """The values all of whose words are among `codes` (unique, known), ascending."""
        found = self.values_by_word.take(codes.astype(np.int64)).values
        values, num_found = np.unique(found, return_counts=True)
        complete = num_found == lengths(self.words)[values]
        return np.asarray(values[complete], np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogWords:
    """The vocabulary of one catalog.

    `idf_micro_V` is BM25's idf over whole products, in millionths; `unseen_idf_micro` that of a word no product has. `is_value_word`
    tells per field of VALUE_FIELDS which words occur in it. `trigrams` lists per word the codes of its distinct character trigrams.
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
        """Read the whole catalog once."""
        code_of = columns.vocabularies["word"]
        num_words = len(code_of)
        trigram_code: dict[str, int] = {}
        spelt = [""] * num_words
        for word, code in code_of.items():
            spelt[code] = word
        trigrams = lists([[trigram_code.setdefault(t, len(trigram_code)) for t in trigrams_of(w)] for w in spelt])
        is_value_word = {field: np.zeros(num_words, np.bool_) for field in VALUE_FIELDS}
        for field, known_V in is_value_word.items():
            known_V[columns.words[field].values] = True
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
        """The code of each word, -1 for one that no product has."""
        return np.array([self.code_of.get(word, -1) for word in query_words], np.int32)

    def idf_micro(self, codes_W: NDArray[np.int32]) -> NDArray[np.int64]:
        """int64 [W], in millionths."""
        idf_W = np.full(len(codes_W), self.unseen_idf_micro, np.int64)
        idf_W[codes_W >= 0] = self.idf_micro_V[codes_W[codes_W >= 0]]
        return idf_W

    def similarities_micro(self, spelt: Sequence[str], codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Dice similarity of each word's trigrams to those of some catalog words, in millionths: int64 [words, codes]."""
        theirs = self.trigrams.take(codes)
        their_lengths = lengths(theirs)
        similar = np.zeros((len(spelt), len(codes)), np.int64)
        for w, word in enumerate(spelt):
            trigrams = trigrams_of(word)
            mine = np.zeros(len(self.trigram_code) + 1, np.bool_)
            mine[[self.trigram_code.get(t, -1) for t in trigrams]] = True
            mine[-1] = False  # where those that no catalog word has were put
            common = sums(mine[theirs.values], theirs.offsets)
            similar[w] = 2 * MICRO * common // np.maximum(len(trigrams) + their_lengths, 1)
        return similar


def trigrams_of(word: str) -> list[str]:
    """The distinct character trigrams of a word between marks for its ends, in order: `red` gives `<re`, `red`, `ed>`."""
    marked = f"<{word}>"
    return list(dict.fromkeys(marked[i : i + 3] for i in range(len(marked) - 2)))


def _document_counts(columns: ProductColumns, num_words: int) -> NDArray[np.int64]:
    keys = [rows_of(columns.words[f]) * num_words + columns.words[f].values for f in WORD_FIELDS]
    codes = np.unique(np.concatenate(keys)) % max(num_words, 1)  # a word once per product
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
    """Values by their words; a value with a word that no product has can never be named."""
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
