"""Candidates of many queries as flat arrays, so that one request online and all judged queries offline run the very same code.

Letters: n candidates of all queries, G queries, R retrievers, K positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from intarsia.maths.grouped import Groups
from intarsia.records.candidates import Candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateBatch:
    """Rows, scores (NaN: cannot be scored) and ranks (0: not returned) of all candidates, query after query; rows ascend within a query."""

    retrievers: tuple[str, ...]
    groups: Groups
    rows_n: NDArray[np.int64]
    scores_Rn: NDArray[np.float64]
    ranks_Rn: NDArray[np.int32]

    def keep(self, keep_n: NDArray[np.bool_]) -> CandidateBatch:
        """The candidates with the flag; every query stays, perhaps with none."""
        kept_before = np.concatenate([[0], np.cumsum(keep_n)])
        return replace(
            self,
            groups=Groups(kept_before[self.groups.offsets].astype(np.int64)),
            rows_n=self.rows_n[keep_n],
            scores_Rn=self.scores_Rn[:, keep_n],
            ranks_Rn=self.ranks_Rn[:, keep_n],
        )

    def cut(self, depth: int) -> CandidateBatch:
        """The same candidates as if every retriever had been asked for `depth` results: later ranks become 0, scores stay."""
        return replace(self, ranks_Rn=np.where(self.ranks_Rn <= depth, self.ranks_Rn, 0).astype(np.int32))

    def only_queries(self, keep_G: NDArray[np.bool_]) -> CandidateBatch:
        """The queries with the flag."""
        kept = self.keep(np.repeat(keep_G, self.groups.lengths_G))
        lengths = kept.groups.lengths_G[keep_G]
        return replace(kept, groups=Groups(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)))

    def only_retriever(self, name: str) -> CandidateBatch:
        """What one retriever alone returned: its column, and the candidates it ranked."""
        at = self.retrievers.index(name)
        one = replace(
            self,
            retrievers=(name,),
            scores_Rn=self.scores_Rn[at : at + 1],
            ranks_Rn=self.ranks_Rn[at : at + 1],
        )
        return one.keep(one.ranks_Rn[0] > 0)


def pack(candidates: Sequence[Candidates]) -> CandidateBatch:
    """Several queries' candidates as one batch; a retriever that one query lacks is NaN and 0 there.

    Raises:
        ValueError: a rank is negative, or a returned candidate has no score from its retriever.
    """
    retrievers = tuple(dict.fromkeys(name for one in candidates for name in one.retrievers))
    lengths = [len(one.rows_C) for one in candidates]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    scores_Rn = np.full((len(retrievers), offsets[-1]), np.nan)
    ranks_Rn = np.zeros((len(retrievers), offsets[-1]), np.int32)
    for one, start, end in zip(candidates, offsets[:-1], offsets[1:], strict=True):
        at = [retrievers.index(name) for name in one.retrievers]
        scores_Rn[at, start:end] = one.scores_CR.T
        ranks_Rn[at, start:end] = one.ranks_CR.T
    _check(retrievers, scores_Rn, ranks_Rn)
    rows_n = np.concatenate([np.empty(0, np.int64), *(one.rows_C for one in candidates)])
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
