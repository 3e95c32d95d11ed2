"""Candidates of one query as a struct of arrays: what a retriever returns, and a fuser and a ranker read.

Letters: C candidates, R retrievers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import ReleaseMismatch
from intarsia.ids import ReleaseId
from intarsia.records.page import FacetValue
from intarsia.records.query import QueryVector


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The candidates of one query.

    Attributes:
        release_id: release that numbered the rows.
        rows_C: int64 [C], row numbers of the products, ascending and unique.
        retrievers: names of the R retrievers.
        scores_CR: float32 [C, R]. Every retriever scores every candidate, also one that another retriever returned; NaN
            when it cannot (the product has no image, the query no such part).
        ranks_CR: int32 [C, R]; 1 is best, 0 means the retriever did not return the candidate within its depth.
        views_C: int32 [C], number of the image that matched best; -1 without one.
        num_matches: size of the match set; the candidates are its best products.
        facets: facet name -> counts of its values over the match set.
        fused_C: float32 [C], fused score, higher is better; None before fusion.
        query_vectors: retriever name -> query vector.
        degraded: pipeline steps that used a fallback.
    """

    release_id: ReleaseId
    rows_C: NDArray[np.int64]
    retrievers: tuple[str, ...]
    scores_CR: NDArray[np.float32]
    ranks_CR: NDArray[np.int32]
    views_C: NDArray[np.int32]
    num_matches: int = 0
    facets: Mapping[str, tuple[FacetValue, ...]] = field(default_factory=dict)
    fused_C: NDArray[np.float32] | None = None
    query_vectors: Mapping[str, QueryVector] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        num_rows, num_retrievers = len(self.rows_C), len(self.retrievers)
        assert self.rows_C.dtype == np.int64 and bool(np.all(np.diff(self.rows_C) > 0)), "rows ascending and unique"
        assert self.scores_CR.shape == self.ranks_CR.shape == (num_rows, num_retrievers)
        assert self.scores_CR.dtype == np.float32
        assert self.ranks_CR.dtype == np.int32
        assert self.views_C.shape == (num_rows,)
        for array in (self.rows_C, self.scores_CR, self.ranks_CR, self.views_C, self.fused_C):
            if array is not None:
                array.setflags(write=False)

    def with_fused(self, fused_C: NDArray[np.floating]) -> Candidates:
        """Copy with fused scores: [C], finite, higher is better."""
        fused = np.ascontiguousarray(fused_C, dtype=np.float32)
        assert fused.shape == self.rows_C.shape
        assert bool(np.isfinite(fused).all())
        return replace(self, fused_C=fused)

    def only(self, keep_C: NDArray[np.bool_]) -> Candidates:
        """The candidates where `keep_C` is true, in the same order."""
        return replace(
            self,
            rows_C=self.rows_C[keep_C],
            scores_CR=self.scores_CR[keep_C],
            ranks_CR=self.ranks_CR[keep_C],
            views_C=self.views_C[keep_C],
            fused_C=None if self.fused_C is None else self.fused_C[keep_C],
        )

    def check_release(self, release_id: ReleaseId) -> None:
        """Check that the candidates belong to a release.

        Raises:
            ReleaseMismatch: they are of another release.
        """
        if self.release_id != release_id:
            raise ReleaseMismatch(
                f"candidates are of release {self.release_id}, this stage holds {release_id}. Fix: repeat the request"
            )


def best_first(scores_C: NDArray[np.floating], rows_C: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices that sort candidates by score, best first, ties by smaller row: int64 [C]; the order used everywhere.

    >>> best_first(np.array([0.5, 2.0, 0.5]), np.array([9, 4, 3])).tolist()
    [1, 2, 0]
    """
    return np.lexsort((rows_C, -scores_C.astype(np.float64)))
