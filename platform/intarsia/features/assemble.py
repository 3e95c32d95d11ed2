"""Queries and candidates to a `CandidateFrame`: the one builder, offline and online. What is made of the columns is `themes/`' matter.

Built once per release: the catalog's words are read and the stats are put in row order when it is opened, so that a query costs little.

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
from intarsia.features.page_facts import price_columns, spread_columns
from intarsia.features.pseudo_feedback import FeedbackVectors, similarity_to_the_best
from intarsia.features.ragged import concatenate
from intarsia.features.stats import KINDS, ProductStats
from intarsia.features.word_vectors import learn_words
from intarsia.names import RETRIEVERS
from intarsia.records.candidates import Candidates, best_first
from intarsia.records.feature_matrix import CandidateFrame, Column, Ragged
from intarsia.records.product_columns import ProductColumns
from intarsia.records.query import EncodedQuery, Query
from intarsia.text import detect_locale

FRAME_VERSION = 1
"""Grows when a column is computed in another way; it is part of every feature fingerprint."""


FEEDBACK = ("text", "image")
"""Vector spaces in which candidates are compared with the best fused ones, and with what the query's words look like."""

_PRODUCT_COLUMNS = ("price_minor", "in_stock", "updated_at_s", "num_images", "description_chars", "is_zh")


class Assembler:
    """Makes the frames of one release.

    Args:
        columns: the catalog by row number.
        stats: behaviour as of the release.
        vectors: stored vectors by space (FEEDBACK); a space that is not there gives NaN.
    """

    def __init__(
        self, columns: ProductColumns, stats: ProductStats, vectors: Mapping[str, FeedbackVectors] | None = None
    ) -> None:
        self._columns = columns
        self._vectors = dict(vectors or {})
        self._words = CatalogWords.of(columns)
        self._word_vectors = {
            space: learn_words(columns.words["title"], len(self._words.code_of), self._vectors.get(space))
            for space in FEEDBACK
        }
        self._stats = stats.columns(columns.product_ids)
        totals = {kind: float(np.nansum(self._stats[kind])) for kind in KINDS}
        self._shop_click_rate = totals["click"] / totals["impression"] if totals["impression"] else np.nan

    def assemble(self, queries: Sequence[EncodedQuery], candidates: Sequence[Candidates]) -> CandidateFrame:
        """One row per candidate, query after query, rows in the order of each query's candidates.

        Raises:
            ReleaseMismatch: a retriever the features do not know.
        """
        assert len(queries) == len(candidates)
        parts = [self._one(encoded, each) for encoded, each in zip(queries, candidates, strict=True)]
        offsets = np.concatenate([[0], np.cumsum([len(each.rows_C) for each in candidates])]).astype(np.int64)
        if len(parts) == 1:
            return CandidateFrame(columns=parts[0], group_offsets=offsets)
        names = parts[0] if parts else {}
        return CandidateFrame(
            columns={name: _stacked([part[name] for part in parts]) for name in names}, group_offsets=offsets
        )

    def _one(self, encoded: EncodedQuery, candidates: Candidates) -> dict[str, Column]:
        rows_C = candidates.rows_C
        words = QueryWords.of(encoded.query.text, self._words)
        found: dict[str, Column] = {
            **self._retrieval(candidates),
            **word_columns(words, rows_C, self._columns, self._words),
            **value_columns(words, rows_C, self._columns, self._words),
            **price_columns(self._columns.price_minor[rows_C], self._columns.currency[rows_C]),
            **{name: values_N[rows_C] for name, values_N in self._stats.items()},
            **_query_facts(encoded.query, len(rows_C)),
            "shop_click_rate": np.full(len(rows_C), self._shop_click_rate),
        }
        for name in _PRODUCT_COLUMNS:
            found[name] = getattr(self._columns, name)[rows_C]
        for space in FEEDBACK:
            found |= self._similarities(space, words.codes_W, candidates)
        return found

    def _similarities(self, space: str, codes_W: NDArray[np.int32], candidates: Candidates) -> dict[str, Column]:
        vectors, learned = self._vectors.get(space), self._word_vectors[space]
        feedback_C = likeness_C = np.full(len(candidates.rows_C), np.nan)
        if vectors is not None:
            feedback_C = similarity_to_the_best(candidates, vectors)
        if vectors is not None and learned is not None:
            likeness_C = learned.likeness(codes_W, candidates.rows_C, vectors)
        return {f"feedback_{space}": feedback_C, f"words_{space}": likeness_C}

    def _retrieval(self, candidates: Candidates) -> dict[str, Column]:
        if unknown := set(candidates.retrievers) - set(RETRIEVERS):
            raise ReleaseMismatch(
                f"candidates come from retriever {min(unknown)}; this release's features know {', '.join(RETRIEVERS)}"
            )
        num_rows = len(candidates.rows_C)
        found: dict[str, Column] = {}
        for name in RETRIEVERS:
            scores_C, ranks_C = np.full(num_rows, np.nan, np.float32), np.zeros(num_rows, np.int32)
            if name in candidates.retrievers:
                r = candidates.retrievers.index(name)
                scores_C, ranks_C = candidates.scores_CR[:, r], candidates.ranks_CR[:, r]
            found[f"{name}_score"], found[f"{name}_rank"] = scores_C, ranks_C
            found |= spread_columns(name, scores_C)
        fused_C = candidates.fused_C if candidates.fused_C is not None else np.full(num_rows, np.nan, np.float32)
        found["fused_score"], found["fused_rank"] = fused_C, np.zeros(num_rows, np.int64)
        if candidates.fused_C is not None:
            cast(NDArray[np.int64], found["fused_rank"])[best_first(fused_C, candidates.rows_C)] = np.arange(
                1, num_rows + 1
            )
        return found | spread_columns("fused", fused_C)


def assemble(
    queries: Sequence[EncodedQuery],
    candidates: Sequence[Candidates],
    columns: ProductColumns,
    stats: ProductStats,
    vectors: Mapping[str, FeedbackVectors] | None = None,
) -> CandidateFrame:
    """The same for whoever needs one frame only; reading the catalog's words costs far more than the frame."""
    return Assembler(columns, stats, vectors).assemble(queries, candidates)


def _query_facts(query: Query, num_rows: int) -> dict[str, Column]:
    locale = detect_locale(query.text) if query.text else query.locale
    facts = {
        "asked_at_s": query.asked_at.timestamp(),
        "query_is_zh": float(locale.startswith("zh")),
        "query_has_text": float(bool(query.text)),
        "query_has_image": float(query.image is not None),
    }
    return {name: np.full(num_rows, fact) for name, fact in facts.items()}


def _stacked(parts: Sequence[Column]) -> Column:
    if isinstance(parts[0], Ragged):
        return concatenate(cast(Sequence[Ragged], parts))
    return np.concatenate(cast(Sequence[NDArray[np.generic]], parts))
