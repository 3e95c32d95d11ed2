"""Builds a `CandidateFrame` from queries and candidates: the only builder, offline and online.

Catalog words and behaviour counts are prepared once per release, so a query costs little. The features in `themes/`
read the columns.

Letters: N products, C candidates of one query, n rows of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import ReleaseMismatch
from intarsia.features.catalog_vocabulary import CatalogWords
from intarsia.features.matching import QueryWords, value_columns, word_columns
from intarsia.features.ragged import concatenate
from intarsia.features.stats import COUNTED_KINDS, ProductStats
from intarsia.features.vector_similarity import FeedbackVectors, WordVectors, feedback_similarity
from intarsia.maths.arrays import Float32s, Floats
from intarsia.names import RETRIEVERS
from intarsia.records.candidates import Candidates, best_first
from intarsia.records.feature_matrix import CandidateFrame, Column, Ragged
from intarsia.records.product_columns import ProductColumns
from intarsia.records.query import EncodedQuery, Query
from intarsia.text import detect_locale

FRAME_VERSION = 1
"""Increases when a column is computed in another way; part of every feature fingerprint."""

FEEDBACK_SPACES = ("text", "image")
"""Vector spaces in which candidates are compared with the best fused candidates and with the query's words."""

_PRODUCT_COLUMNS = ("price_minor", "in_stock", "updated_at_s", "num_images", "description_chars", "is_zh")


class Assembler:
    """Builds the frames of one release.

    Args:
        columns: the catalog by row number.
        stats: behaviour counts as of the release.
        vectors: stored vectors by space (`FEEDBACK_SPACES`); features of a missing space are NaN.
    """

    def __init__(
        self, columns: ProductColumns, stats: ProductStats, vectors: Mapping[str, FeedbackVectors] | None = None
    ) -> None:
        self._columns = columns
        self._vectors = dict(vectors or {})
        self._words = CatalogWords.of(columns)
        num_words = len(self._words.code_of)
        self._word_vectors = {
            space: WordVectors.learn(columns.words["title"], num_words, self._vectors[space])
            for space in FEEDBACK_SPACES
            if space in self._vectors
        }
        self._stats = stats.columns(columns.product_ids)
        totals = {kind: float(np.nansum(self._stats[kind])) for kind in COUNTED_KINDS}
        self._shop_click_rate = totals["click"] / totals["impression"] if totals["impression"] else np.nan

    def assemble(self, queries: Sequence[EncodedQuery], candidates: Sequence[Candidates]) -> CandidateFrame:
        """One row per candidate, query after query, in the order of each query's candidates.

        Raises:
            ReleaseMismatch: a candidate comes from an unknown retriever.
        """
        assert len(queries) == len(candidates)
        parts = [self._columns_of_query(query, of_query) for query, of_query in zip(queries, candidates, strict=True)]
        offsets = np.concatenate([[0], np.cumsum([len(of_query.rows_C) for of_query in candidates])]).astype(np.int64)
        if len(parts) == 1:
            return CandidateFrame(columns=parts[0], group_offsets=offsets)
        names = parts[0] if parts else {}
        return CandidateFrame(
            columns={name: _concatenated([part[name] for part in parts]) for name in names}, group_offsets=offsets
        )

    def _columns_of_query(self, encoded: EncodedQuery, candidates: Candidates) -> dict[str, Column]:
        rows_C = candidates.rows_C
        words = QueryWords.of(encoded.query.text, self._words)
        columns: dict[str, Column] = {
            **self._retrieval_columns(candidates),
            **word_columns(words, rows_C, self._columns, self._words),
            **value_columns(words, rows_C, self._columns, self._words),
            **price_columns(self._columns.price_minor[rows_C], self._columns.currency[rows_C]),
            **{name: values_N[rows_C] for name, values_N in self._stats.items()},
            **_query_columns(encoded.query, len(rows_C)),
            "shop_click_rate": np.full(len(rows_C), self._shop_click_rate),
        }
        for name in _PRODUCT_COLUMNS:
            columns[name] = getattr(self._columns, name)[rows_C]
        for space in FEEDBACK_SPACES:
            columns |= self._similarity_columns(space, words.codes_W, candidates)
        return columns

    def _similarity_columns(self, space: str, codes_W: NDArray[np.int32], candidates: Candidates) -> dict[str, Column]:
        vectors, word_vectors = self._vectors.get(space), self._word_vectors.get(space)
        feedback_C = words_C = np.full(len(candidates.rows_C), np.nan)
        if vectors is not None:
            feedback_C = feedback_similarity(candidates, vectors)
        if vectors is not None and word_vectors is not None:
            words_C = word_vectors.similarity(codes_W, candidates.rows_C, vectors)
        return {f"feedback_{space}": feedback_C, f"words_{space}": words_C}

    def _retrieval_columns(self, candidates: Candidates) -> dict[str, Column]:
        if unknown := set(candidates.retrievers) - set(RETRIEVERS):
            raise ReleaseMismatch(
                f"candidates come from retriever {min(unknown)}; this release's features know {', '.join(RETRIEVERS)}"
            )
        num_rows = len(candidates.rows_C)
        columns: dict[str, Column] = {}
        for name in RETRIEVERS:
            scores_C, ranks_C = np.full(num_rows, np.nan, np.float32), np.zeros(num_rows, np.int32)
            if name in candidates.retrievers:
                r = candidates.retrievers.index(name)
                scores_C, ranks_C = candidates.scores_CR[:, r], candidates.ranks_CR[:, r]
            columns[f"{name}_score"], columns[f"{name}_rank"] = scores_C, ranks_C
            columns |= score_statistics(name, scores_C)
        fused_C = candidates.fused_C if candidates.fused_C is not None else np.full(num_rows, np.nan, np.float32)
        fused_rank_C = np.zeros(num_rows, np.int64)
        if candidates.fused_C is not None:
            fused_rank_C[best_first(fused_C, candidates.rows_C)] = np.arange(1, num_rows + 1)
        return columns | {"fused_score": fused_C, "fused_rank": fused_rank_C} | score_statistics("fused", fused_C)


def assemble(
    queries: Sequence[EncodedQuery],
    candidates: Sequence[Candidates],
    columns: ProductColumns,
    stats: ProductStats,
    vectors: Mapping[str, FeedbackVectors] | None = None,
) -> CandidateFrame:
    """Build one frame. To build several, keep an `Assembler`: preparing the catalog costs far more than a frame."""
    return Assembler(columns, stats, vectors).assemble(queries, candidates)


def score_statistics(name: str, scores_C: Float32s) -> dict[str, Column]:
    """Lowest, highest, mean and standard deviation of the known scores, repeated on each row; NaN if none is known.

    The order of the candidates changes no bit.

    >>> score_statistics("bm25", np.array([1.0, np.nan, 3.0], np.float32))["bm25_mean"].tolist()
    [2.0, 2.0, 2.0]
    """
    sorted_scores = np.sort(scores_C[~np.isnan(scores_C)].astype(np.float64))
    statistics = (np.nan, np.nan, np.nan, np.nan)
    if len(sorted_scores):
        low, high = float(sorted_scores[0]), float(sorted_scores[-1])
        # the mean of equal scores can differ from them in the last bit, which would give a spread above 0
        statistics = (
            (low, high, low, 0.0)
            if low == high
            else (low, high, float(sorted_scores.mean()), float(sorted_scores.std()))
        )
    parts = zip(("low", "high", "mean", "spread"), statistics, strict=True)
    return {f"{name}_{part}": np.full(len(scores_C), statistic) for part, statistic in parts}


def price_columns(price_C: Floats, currency_C: NDArray[np.int32]) -> dict[str, Column]:
    """Among the candidates of the same currency: median price, number of cheaper, equally priced and priced candidates.

    NaN for a candidate without a price. The order of the candidates changes no bit.
    """
    columns = {
        name: np.full(len(price_C), np.nan) for name in ("price_median", "num_cheaper", "num_equal", "num_priced")
    }
    for code in np.unique(currency_C[currency_C >= 0]):
        priced = np.flatnonzero((currency_C == code) & ~np.isnan(price_C))
        if not len(priced):
            continue
        ascending = np.sort(price_C[priced])
        num_cheaper = np.searchsorted(ascending, price_C[priced], side="left")
        columns["price_median"][priced] = np.median(ascending)
        columns["num_cheaper"][priced] = num_cheaper
        columns["num_equal"][priced] = np.searchsorted(ascending, price_C[priced], side="right") - num_cheaper
        columns["num_priced"][priced] = len(priced)
    return dict(columns)


def _query_columns(query: Query, num_rows: int) -> dict[str, Column]:
    locale = detect_locale(query.text) if query.text else query.locale
    values = {
        "asked_at_s": query.asked_at.timestamp(),
        "query_is_zh": float(locale.startswith("zh")),
        "query_has_text": float(bool(query.text)),
        "query_has_image": float(query.image is not None),
    }
    return {name: np.full(num_rows, value) for name, value in values.items()}


def _concatenated(parts: Sequence[Column]) -> Column:
    if isinstance(parts[0], Ragged):
        return concatenate(cast(Sequence[Ragged], parts))
    return np.concatenate(cast(Sequence[NDArray[np.generic]], parts))
