"""Exact vector search: every allowed product is scored. The oracle of the other kinds, and fast enough below about 100,000 views.

Letters: Q queries, D width, N products, k depth, C candidates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intarsia.ids import SpaceId
from intarsia.index.order import top_k
from intarsia.index.protocol import Found
from intarsia.index.vectors import StoredVectors

_GATHER_BELOW = (
    0.05  # share of allowed rows under which their vectors are copied out and scored, instead of all in place
)


class FlatIndex:
    """Scores every allowed product with one dot product per view; nothing is approximate."""

    def __init__(self, stored: StoredVectors) -> None:
        self.stored = stored
        self._last: tuple[bytes, NDArray[np.float32]] = (b"", np.empty(0, np.float32))

    @property
    def space_id(self) -> SpaceId:
        """The space of the stored vectors."""
        return self.stored.space_id

    def search(self, queries_QD: NDArray[np.float32], k: int, allowed_N: NDArray[np.bool_] | None) -> Found:
        """The k best products of each query among the allowed ones (None: all), exactly."""
        found = nothing_found(len(queries_QD), k)
        rows_to_gather = self._rows_to_gather(allowed_N)
        for q, query_D in enumerate(queries_QD):
            if rows_to_gather is None:
                scores_N = self._scores(query_D)
            else:
                scores_N = np.full(self.stored.num_rows, np.nan, np.float32)
                scores_N[rows_to_gather] = self.stored.score_rows(query_D, rows_to_gather)[0]
            fill(found, q, self.stored, query_D, top_k(scores_N, k, allowed_N))
        return found

    def score_rows(
        self, query_D: NDArray[np.float32], rows_C: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """(score, best view) of given rows; (NaN, -1) for a row without vectors."""
        return self.stored.score_rows(query_D, rows_C)

    def matches(self, query_D: NDArray[np.float32], floor: float) -> NDArray[np.bool_]:
        """Bool [N]: the products whose score is `floor` or more."""
        return self._scores(query_D) >= np.float32(floor)

    def vectors_of(self, row: int) -> NDArray[np.float32]:
        """float32 [V, D], a row's stored vectors in view order."""
        return self.stored.vectors_of(row)

    def unit_means(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The unit mean of each row's vectors, and which rows have one."""
        return self.stored.unit_means()

    def _scores(self, query_D: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N], not to be changed; `search` and `matches` of one query, asked in a row, read the vectors once."""
        query, (last_query, last_scores_N) = query_D.tobytes(), self._last
        if query == last_query:
            return last_scores_N
        scores_N = self.stored.scores(query_D)
        self._last = (query, scores_N)  # one assignment: another thread sees the old pair or the new one
        return scores_N

    def _rows_to_gather(self, allowed_N: NDArray[np.bool_] | None) -> NDArray[np.int64] | None:
        """The few rows to copy out and score, or None when scoring everything in place is cheaper."""
        if allowed_N is None:
            return None
        rows = np.flatnonzero(allowed_N)
        return rows if len(rows) < _GATHER_BELOW * self.stored.num_rows else None


def nothing_found(num_queries: int, k: int) -> Found:
    """A `Found` that is all padding."""
    return Found(
        rows_Qk=np.full((num_queries, k), -1, np.int64),
        scores_Qk=np.full((num_queries, k), np.nan, np.float32),
        views_Qk=np.full((num_queries, k), -1, np.int32),
    )


def fill(found: Found, q: int, stored: StoredVectors, query_D: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
    """Write the rows of query q, best first, with their exact scores and best views."""
    found.rows_Qk[q, : len(rows)] = rows
    found.scores_Qk[q, : len(rows)], found.views_Qk[q, : len(rows)] = stored.score_rows(query_D, rows)
