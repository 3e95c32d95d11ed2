"""How the query's words stand in the product's texts. Shares are NaN for a query without words.

A column of word lists is aligned with `query_words`: one entry per distinct word of the query, on every row.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from intarsia.features.catalog_vocabulary import MICRO
from intarsia.features.definition import Feature, feature
from intarsia.features.matching import BM25_FIELDS
from intarsia.features.ragged import lengths, maxima, share, sums
from intarsia.maths.arrays import Floats, Ints
from intarsia.records.feature_matrix import Ragged
from intarsia.records.product_columns import WORD_FIELDS

ALL_COUNTS = tuple(f"{field}_counts" for field in WORD_FIELDS)
_K1, _B = 1.2, 0.5  # saturation and length share of the per-field BM25; the ranker learns the rest


def text_match_features() -> Iterator[Feature]:
    """Coverage per field and in any, then order, place, spelling and lengths in the title."""
    for field in WORD_FIELDS:
        yield _coverage(field)
    yield from (any_coverage, any_idf_coverage, title_idf_coverage, rarest_word_found, unknown_words)
    yield from (_bm25(field) for field in BM25_FIELDS)
    yield from (
        title_covered,
        title_phrase,
        title_run,
        title_pairs,
        title_first_place,
        title_last_word,
        title_last_word_place,
    )
    yield from (title_similarity, title_worst_similarity, numbers_found, query_length, title_length, query_idf)


def _coverage(field: str) -> Feature:
    @feature(name=f"{field}_coverage", version=1, reads=(f"{field}_counts",))
    def coverage(counts: Ragged) -> Floats:
        """Share of the query's words that stand in this field."""
        return share(sums(counts.values > 0, counts.offsets), lengths(counts))

    return coverage


@feature(version=1, reads=ALL_COUNTS)
def any_coverage(*counts: Ragged) -> Floats:
    """Share of the query's words that stand in any field."""
    return share(sums(_in_any(counts), counts[0].offsets), lengths(counts[0]))


@feature(version=1, reads=("query_idf_micro", *ALL_COUNTS))
def any_idf_coverage(idf: Ragged, *counts: Ragged) -> Floats:
    """The same, each word weighing its idf."""
    return share(sums(idf.values * _in_any(counts), idf.offsets), sums(idf.values, idf.offsets))


@feature(version=1, reads=("query_idf_micro", "title_counts"))
def title_idf_coverage(idf: Ragged, counts: Ragged) -> Floats:
    """Share of the query's idf that stands in the title."""
    return share(sums(idf.values * (counts.values > 0), idf.offsets), sums(idf.values, idf.offsets))


@feature(version=1, reads=("query_words", "query_idf_micro", *ALL_COUNTS))
def rarest_word_found(query_words: Ragged, idf: Ragged, *counts: Ragged) -> Floats:
    """1 when the rarest word of the query, of those that some product has, stands in any field, else 0."""
    weight = np.where(query_words.values >= 0, idf.values, -1)
    rarest_n = maxima(weight, idf.offsets, of_empty=-1)
    is_found = _in_any(counts) & (weight == np.repeat(rarest_n, lengths(idf)))
    return np.where(rarest_n < 0, np.nan, sums(is_found, idf.offsets) > 0)


@feature(version=1, reads=("query_words",))
def unknown_words(query_words: Ragged) -> Floats:
    """Share of the query's words that no product has: mistyped, or not sold here."""
    return share(sums(query_words.values < 0, query_words.offsets), lengths(query_words))


def _bm25(field: str) -> Feature:
    @feature(
        name=f"{field}_bm25",
        version=1,
        reads=(f"{field}_counts", "query_idf_micro", f"{field}_length", f"{field}_average_length"),
    )
    def bm25(counts: Ragged, idf: Ragged, length: Ints, average_length: Floats) -> Floats:
        """BM25 of this field alone."""
        norm_n = _K1 * (1 - _B + _B * length / np.maximum(average_length, 1.0))
        norm = np.repeat(norm_n, lengths(counts))
        gain = np.divide(counts.values * (_K1 + 1), counts.values + norm, out=np.zeros(len(norm)), where=norm > 0)
        gain_n = sums(np.rint(idf.values * gain).astype(np.int64), counts.offsets) / MICRO
        return np.where(lengths(counts) > 0, gain_n, np.nan)

    return bm25


@feature(version=1, reads=("title_hits", "title_length"))
def title_covered(title_hits: Ints, title_length: Ints) -> Floats:
    """Share of the title's words that the query has: 1 means the title says nothing else."""
    return share(title_hits, title_length)


@feature(version=1, reads=("title_run", "query_length"))
def title_phrase(title_run: Ints, query_length: Ints) -> Floats:
    """1 when the whole query stands in the title, word by word, else 0."""
    return np.where(query_length > 0, title_run == query_length, np.nan)


@feature(version=1, reads=("title_run", "query_length"))
def title_run(title_run: Ints, query_length: Ints) -> Floats:
    """The longest piece of the query that stands in the title unbroken, as a share of the query."""
    return share(title_run, query_length)


@feature(version=1, reads=("title_pairs", "query_length"))
def title_pairs(title_pairs: Ints, query_length: Ints) -> Floats:
    """Share of the query's neighbouring word pairs that stand in the title so; NaN for fewer than two words."""
    return share(title_pairs, query_length - 1)


@feature(version=1, reads=("title_firsts", "title_length"))
def title_first_place(title_firsts: Ragged, title_length: Ints) -> Floats:
    """Where the first query word stands in the title, 0 at its beginning, towards 1 at its end; NaN when none does."""
    beyond = np.iinfo(np.int32).max
    first_n = beyond - maxima(
        beyond - np.where(title_firsts.values < 0, beyond, title_firsts.values).astype(np.int64),
        title_firsts.offsets,
        of_empty=0,
    )
    return np.where(first_n == beyond, np.nan, share(first_n, title_length))


@feature(version=1, reads=("title_firsts",))
def title_last_word(title_firsts: Ragged) -> Floats:
    """1 when the query's last word stands in the title, else 0: in English, and mostly in Chinese, it is what the others describe."""
    last_n = _last(title_firsts)
    return np.where(lengths(title_firsts) > 0, last_n >= 0, np.nan)


@feature(version=1, reads=("title_firsts", "title_length"))
def title_last_word_place(title_firsts: Ragged, title_length: Ints) -> Floats:
    """Words of the title after the query's last word, as a share; 0: both end alike. NaN when it is not there."""
    last_n = _last(title_firsts)
    return np.where(last_n >= 0, share(title_length - 1 - last_n, title_length), np.nan)


@feature(version=1, reads=("title_similarities",))
def title_similarity(similarities: Ragged) -> Floats:
    """How alike the query's words and the title's most similar words are spelt, mean over the query's words; 1 where all are there."""
    return share(sums(similarities.values, similarities.offsets), MICRO * lengths(similarities))


@feature(version=1, reads=("title_similarities",))
def title_worst_similarity(similarities: Ragged) -> Floats:
    """The same of the query word that fits the title worst."""
    worst_n = MICRO - maxima(MICRO - similarities.values.astype(np.int64), similarities.offsets, of_empty=0)
    return np.where(lengths(similarities) > 0, worst_n / MICRO, np.nan)


@feature(version=1, reads=("query_is_number", *ALL_COUNTS))
def numbers_found(is_number: Ragged, *counts: Ragged) -> Floats:
    """Share of the query's words with a digit (sizes, models, years) that stand in any field; NaN for a query without."""
    return share(
        sums((is_number.values > 0) & _in_any(counts), is_number.offsets), sums(is_number.values, is_number.offsets)
    )


@feature(version=1, reads=("query_length",))
def query_length(query_length: Ints) -> Floats:
    """Words of the query."""
    return query_length.astype(np.float64)


@feature(version=1, reads=("title_length",))
def title_length(title_length: Ints) -> Floats:
    """Words of the title."""
    return title_length.astype(np.float64)


@feature(version=1, reads=("query_idf_micro",))
def query_idf(idf: Ragged) -> Floats:
    """Mean idf of the query's words: how much it tells."""
    return share(sums(idf.values, idf.offsets), lengths(idf)) / MICRO


def _in_any(counts: tuple[Ragged, ...]) -> NDArray[np.bool_]:
    found = counts[0].values > 0
    for each in counts[1:]:
        found = found | (each.values > 0)
    return found


def _last(listed: Ragged) -> Ints:
    """The last value of each list, -1 for an empty one."""
    last_n = np.full(len(listed), -1, np.int64)
    filled = lengths(listed) > 0
    last_n[filled] = listed.values[listed.offsets[1:][filled] - 1]
    return last_n
