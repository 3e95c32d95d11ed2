"""How the query's words match the product's texts. Shares are NaN for a query without words.

Columns of lists are aligned with `query_words`: one entry per distinct word of the query, on every row.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intarsia.features.catalog_vocabulary import MICRO
from intarsia.features.definition import Feature, feature
from intarsia.features.matching import BM25_FIELDS
from intarsia.features.ragged import lengths, maxima, share, sums
from intarsia.maths.arrays import Bools, Floats, Ints
from intarsia.records.feature_matrix import Ragged
from intarsia.records.product_columns import WORD_FIELDS

ALL_COUNTS = tuple(f"{field}_counts" for field in WORD_FIELDS)
# saturation and length normalisation of the per-field BM25; not tuned, because the ranker learns the weights
_K1, _B = 1.2, 0.5


def text_match_features() -> Iterator[Feature]:
    """Coverage per field and in any field, then order, position, spelling and lengths in the title."""
    for field in WORD_FIELDS:
        yield _coverage(field)
    yield from (any_coverage, any_idf_coverage, title_idf_coverage, rarest_word_found, unknown_words)
    yield from (_bm25(field) for field in BM25_FIELDS)
    yield from (
        title_covered,
        title_phrase,
        title_run,
        title_pairs,
        title_first_position,
        title_last_word,
        title_last_word_position,
    )
    yield from (title_similarity, title_worst_similarity, numbers_found, query_length, title_length, query_idf)


def _coverage(field: str) -> Feature:
    @feature(name=f"{field}_coverage", version=1, reads=(f"{field}_counts",))
    def coverage(counts: Ragged) -> Floats:
        """Share of the query's words that occur in this field."""
        return share(sums(counts.values > 0, counts.offsets), lengths(counts))

    return coverage


@feature(version=1, reads=ALL_COUNTS)
def any_coverage(*counts: Ragged) -> Floats:
    """Share of the query's words that occur in any field."""
    return share(sums(_in_any(counts), counts[0].offsets), lengths(counts[0]))


@feature(version=1, reads=("query_idf_micro", *ALL_COUNTS))
def any_idf_coverage(idf: Ragged, *counts: Ragged) -> Floats:
    """Share of the query's words that occur in any field, weighted by idf."""
    return share(sums(idf.values * _in_any(counts), idf.offsets), sums(idf.values, idf.offsets))


@feature(version=1, reads=("query_idf_micro", "title_counts"))
def title_idf_coverage(idf: Ragged, counts: Ragged) -> Floats:
    """Share of the query's words that occur in the title, weighted by idf."""
    return share(sums(idf.values * (counts.values > 0), idf.offsets), sums(idf.values, idf.offsets))


@feature(version=1, reads=("query_words", "query_idf_micro", *ALL_COUNTS))
def rarest_word_found(query_words: Ragged, idf: Ragged, *counts: Ragged) -> Floats:
    """1 if the rarest word of the query, among those that some product has, occurs in any field, else 0."""
    weight = np.where(query_words.values >= 0, idf.values, -1)
    rarest_n = maxima(weight, idf.offsets, of_empty=-1)
    matches = _in_any(counts) & (weight == np.repeat(rarest_n, lengths(idf)))
    return np.where(rarest_n < 0, np.nan, sums(matches, idf.offsets) > 0)


@feature(version=1, reads=("query_words",))
def unknown_words(query_words: Ragged) -> Floats:
    """Share of the query's words that no product has: misspelled, or not sold here."""
    return share(sums(query_words.values < 0, query_words.offsets), lengths(query_words))


def _bm25(field: str) -> Feature:
    @feature(
        name=f"{field}_bm25",
        version=1,
        reads=(f"{field}_counts", "query_idf_micro", f"{field}_length", f"{field}_average_length"),
    )
    def bm25(counts: Ragged, idf: Ragged, length: Ints, average_length: Floats) -> Floats:
        """BM25 of this field only."""
        norm_n = _K1 * (1 - _B + _B * length / np.maximum(average_length, 1.0))
        norm = np.repeat(norm_n, lengths(counts))
        gain = np.divide(counts.values * (_K1 + 1), counts.values + norm, out=np.zeros(len(norm)), where=norm > 0)
        gain_n = sums(np.rint(idf.values * gain).astype(np.int64), counts.offsets) / MICRO
        return np.where(lengths(counts) > 0, gain_n, np.nan)

    return bm25


@feature(version=1, reads=("title_hits", "title_length"))
def title_covered(title_hits: Ints, title_length: Ints) -> Floats:
    """Share of the title's words that occur in the query; 1 if the title has no other word."""
    return share(title_hits, title_length)


@feature(version=1, reads=("title_run", "query_length"))
def title_phrase(title_run: Ints, query_length: Ints) -> Floats:
    """1 if the whole query occurs in the title as a phrase, else 0."""
    return np.where(query_length > 0, title_run == query_length, np.nan)


@feature(version=1, reads=("title_run", "query_length"))
def title_run(title_run: Ints, query_length: Ints) -> Floats:
    """Length of the longest phrase of the query that occurs in the title, as a share of the query."""
    return share(title_run, query_length)


@feature(version=1, reads=("title_pairs", "query_length"))
def title_pairs(title_pairs: Ints, query_length: Ints) -> Floats:
    """Share of the query's adjacent word pairs that are adjacent in the title; NaN for fewer than two words."""
    return share(title_pairs, query_length - 1)


@feature(version=1, reads=("title_firsts", "title_length"))
def title_first_position(title_firsts: Ragged, title_length: Ints) -> Floats:
    """Relative position of the first query word in the title: 0 at the start, near 1 at the end; NaN if none occurs."""
    beyond = np.iinfo(np.int32).max
    first_n = beyond - maxima(
        beyond - np.where(title_firsts.values < 0, beyond, title_firsts.values).astype(np.int64),
        title_firsts.offsets,
        of_empty=0,
    )
    return np.where(first_n == beyond, np.nan, share(first_n, title_length))


@feature(version=1, reads=("title_firsts",))
def title_last_word(title_firsts: Ragged) -> Floats:
    """1 if the query's last word occurs in the title, else 0: it is usually the noun that the other words describe."""
    last_n = _last(title_firsts)
    return np.where(lengths(title_firsts) > 0, last_n >= 0, np.nan)


@feature(version=1, reads=("title_firsts", "title_length"))
def title_last_word_position(title_firsts: Ragged, title_length: Ints) -> Floats:
    """Share of the title that follows the query's last word; 0 if both end with it, NaN if it does not occur."""
    last_n = _last(title_firsts)
    return np.where(last_n >= 0, share(title_length - 1 - last_n, title_length), np.nan)


@feature(version=1, reads=("title_similarities",))
def title_similarity(similarities: Ragged) -> Floats:
    """Spelling similarity of each query word and the most similar word of the title, mean; 1 if all occur."""
    return share(sums(similarities.values, similarities.offsets), MICRO * lengths(similarities))


@feature(version=1, reads=("title_similarities",))
def title_worst_similarity(similarities: Ragged) -> Floats:
    """Spelling similarity of the query word that is least similar to any word of the title."""
    worst_n = MICRO - maxima(MICRO - similarities.values.astype(np.int64), similarities.offsets, of_empty=0)
    return np.where(lengths(similarities) > 0, worst_n / MICRO, np.nan)


@feature(version=1, reads=("query_is_number", *ALL_COUNTS))
def numbers_found(is_number: Ragged, *counts: Ragged) -> Floats:
    """Share of the query's words with a digit (sizes, models, years) that occur in any field; NaN without any."""
    return share(
        sums((is_number.values > 0) & _in_any(counts), is_number.offsets), sums(is_number.values, is_number.offsets)
    )


@feature(version=1, reads=("query_length",))
def query_length(query_length: Ints) -> Floats:
    """Number of words of the query."""
    return query_length.astype(np.float64)


@feature(version=1, reads=("title_length",))
def title_length(title_length: Ints) -> Floats:
    """Number of words of the title."""
    return title_length.astype(np.float64)


@feature(version=1, reads=("query_idf_micro",))
def query_idf(idf: Ragged) -> Floats:
    """Mean idf of the query's words: how specific it is."""
    return share(sums(idf.values, idf.offsets), lengths(idf)) / MICRO


def _in_any(counts: tuple[Ragged, ...]) -> Bools:
    in_any = counts[0].values > 0
    for of_field in counts[1:]:
        in_any = in_any | (of_field.values > 0)
    return in_any


def _last(ragged: Ragged) -> Ints:
    """The last value of each list, -1 for an empty one."""
    last_n = np.full(len(ragged), -1, np.int64)
    filled = lengths(ragged) > 0
    last_n[filled] = ragged.values[ragged.offsets[1:][filled] - 1]
    return last_n
