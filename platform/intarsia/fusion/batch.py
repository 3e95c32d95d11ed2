"""Candidates of many queries as flat arrays.

One request online and all judged queries offline run the same code on them.

Shapes: n candidates of all queries, G queries, R retrievers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import ReleaseMismatch
from intarsia.maths.grouped import Groups
from intarsia.records.candidates import Candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateBatch:
    """The candidates of many queries, query after query; within a query, rows ascend.

    Attributes:
        retrievers: names of the R retrievers.
        groups: which candidates belong to which query.
        rows_n: product row of each candidate.
        scores_Rn: NaN where the retriever cannot score the candidate.
        ranks_Rn: 1 is best; 0 where the retriever did not return the candidate.
    """

    retrievers: tuple[str, ...]
    groups: Groups
    rows_n: NDArray[np.int64]
    scores_Rn: NDArray[np.float64]
    ranks_Rn: NDArray[np.int32]

    def keep(self, keep_n: NDArray[np.bool_]) -> CandidateBatch:
        """Select candidates by a mask, bool [n]; every query stays, even without candidates."""
        kept_before = np.concatenate([[0], np.cumsum(keep_n)])
        return replace(
            self,
            groups=Groups(kept_before[self.groups.offsets].astype(np.int64)),
            rows_n=self.rows_n[keep_n],
            scores_Rn=self.scores_Rn[:, keep_n],
            ranks_Rn=self.ranks_Rn[:, keep_n],
        )

    def cut(self, depth: int) -> CandidateBatch:
        """Set ranks below `depth` to 0, as if each retriever had returned `depth` results; scores stay."""
        return replace(self, ranks_Rn=np.where(self.ranks_Rn <= depth, self.ranks_Rn, 0).astype(np.int32))

    def only_queries(self, keep_G: NDArray[np.bool_]) -> CandidateBatch:
        """Select queries by a mask, bool [G]."""
        kept = self.keep(np.repeat(keep_G, self.groups.lengths_G))
        lengths = kept.groups.lengths_G[keep_G]
        return replace(kept, groups=Groups(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)))

    def only_retriever(self, name: str) -> CandidateBatch:
        """Select one retriever: its scores and ranks, and the candidates it returned."""
        at = self.retrievers.index(name)
        single = replace(
            self,
            retrievers=(name,),
            scores_Rn=self.scores_Rn[at : at + 1],
            ranks_Rn=self.ranks_Rn[at : at + 1],
        )
        return single.keep(single.ranks_Rn[0] > 0)

    def with_retrievers(self, retrievers: Sequence[str]) -> CandidateBatch:
        """Arrange the columns as a fitted method expects them; a retriever without results scores and returns nothing.

        Raises:
            ReleaseMismatch: the batch has a retriever that is not in `retrievers`.
        """
        unknown = [name for name in self.retrievers if name not in retrievers]
        if unknown:
            raise ReleaseMismatch(
                f"the fuser was not fitted on scores of {', '.join(unknown)}, only on {', '.join(retrievers)}. "
                "Fix: run search_fusion over the release's retrievers"
            )
        scores_Rn = np.full((len(retrievers), len(self.rows_n)), np.nan)
        ranks_Rn = np.zeros((len(retrievers), len(self.rows_n)), np.int32)
        at = [retrievers.index(name) for name in self.retrievers]
        scores_Rn[at], ranks_Rn[at] = self.scores_Rn, self.ranks_Rn
        return replace(self, retrievers=tuple(retrievers), scores_Rn=scores_Rn, ranks_Rn=ranks_Rn)

    def returned_within(self, depth: int, retrievers: Sequence[str]) -> tuple[CandidateBatch, NDArray[np.bool_]]:
        """Select the candidates that some retriever returned within `depth`, with the columns of a fitted method.

        Returns:
            The selected candidates, and which candidates of this batch they are, bool [n].

        Raises:
            ReleaseMismatch: see `with_retrievers`.
        """
        cut = self.with_retrievers(retrievers).cut(depth)
        kept_n = np.asarray((cut.ranks_Rn > 0).any(axis=0))
        return cut.keep(kept_n), kept_n


def pack(candidates: Sequence[Candidates]) -> CandidateBatch:
    """Pack the candidates of several queries; where a query lacks a retriever, its scores are NaN and its ranks 0.

    Raises:
        ValueError: a rank is negative, or a returned candidate has no score from its retriever.
    """
    retrievers = tuple(dict.fromkeys(name for of_query in candidates for name in of_query.retrievers))
    lengths = [len(of_query.rows_C) for of_query in candidates]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    scores_Rn = np.full((len(retrievers), offsets[-1]), np.nan)
    ranks_Rn = np.zeros((len(retrievers), offsets[-1]), np.int32)
    for of_query, start, end in zip(candidates, offsets[:-1], offsets[1:], strict=True):
        at = [retrievers.index(name) for name in of_query.retrievers]
        scores_Rn[at, start:end] = of_query.scores_CR.T
        ranks_Rn[at, start:end] = of_query.ranks_CR.T
    _check(retrievers, scores_Rn, ranks_Rn)
    rows_n = np.concatenate([np.empty(0, np.int64), *(of_query.rows_C for of_query in candidates)])
    return CandidateBatch(
        retrievers=retrievers, groups=Groups(offsets), rows_n=rows_n, scores_Rn=scores_Rn, ranks_Rn=ranks_Rn
    )


def _check(retrievers: tuple[str, ...], scores_Rn: NDArray[np.float64], ranks_Rn: NDArray[np.int32]) -> None:
    negative = np.argwhere(ranks_Rn < 0)
    if len(negative):
        at, candidate = negative[0]
        raise ValueError(f"rank {ranks_Rn[at, candidate]} at candidate {candidate}, retriever {retrievers[at]}")
    unscored = np.argwhere((ranks_Rn > 0) & ~np.isfinite(scores_Rn))
    if len(unscored):
        at, candidate = unscored[0]
        raise ValueError(f"candidate {candidate} was returned by {retrievers[at]} without a score")
