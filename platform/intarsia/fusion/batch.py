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

_MOST_PADDING = 4  # times the candidates there are: a table of queries of very different lengths would be mostly empty


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


def top_positions(fused_n: NDArray[np.floating], groups: Groups, num: int) -> NDArray[np.int64]:
    """Where each query's best candidates lie in the flat arrays, best first: int64 [G, K], -1 behind the last.

    The order is that of `records.candidates.best_first`: score, then smaller row, as rows ascend within a query.
    """
    group_n = np.repeat(np.arange(groups.num_groups), groups.lengths_G)
    scores_n = fused_n.astype(np.float64)
    hopeful_n = _hopeful(scores_n, groups, group_n, num)
    # stable: what is equal stays in the order of rows
    ordered_n = hopeful_n[np.lexsort((-scores_n[hopeful_n], group_n[hopeful_n]))]
    group_n = group_n[ordered_n]
    first_G = np.searchsorted(group_n, np.arange(groups.num_groups))
    place_n = np.arange(len(ordered_n)) - first_G[group_n]
    positions_GK = np.full((groups.num_groups, num), -1, np.int64)
    shown_n = place_n < num
    positions_GK[group_n[shown_n], place_n[shown_n]] = ordered_n[shown_n]
    return positions_GK


def _hopeful(scores_n: NDArray[np.float64], groups: Groups, group_n: NDArray[np.int64], num: int) -> NDArray[np.int64]:
    """Positions of all that may be among their query's best `num`: those not below its num-th score; sorting them alone is much faster."""
    longest = int(groups.lengths_G.max(initial=0))
    if longest <= 2 * num or groups.num_groups * longest > _MOST_PADDING * len(scores_n):
        return np.arange(len(scores_n))
    padded_GC = np.full((groups.num_groups, longest), -np.inf)
    padded_GC[group_n, np.arange(len(scores_n)) - groups.offsets[group_n]] = scores_n
    least_G = np.partition(padded_GC, longest - num, axis=1)[:, longest - num]
    return np.flatnonzero(scores_n >= least_G[group_n])


def _check(retrievers: tuple[str, ...], scores_Rn: NDArray[np.float64], ranks_Rn: NDArray[np.int32]) -> None:
    negative = np.argwhere(ranks_Rn < 0)
    if len(negative):
        at, candidate = negative[0]
        raise ValueError(f"rank {ranks_Rn[at, candidate]} at candidate {candidate}, retriever {retrievers[at]}")
    unscored = np.argwhere((ranks_Rn > 0) & ~np.isfinite(scores_Rn))
    if len(unscored):
        at, candidate = unscored[0]
        raise ValueError(f"candidate {candidate} was returned by {retrievers[at]} without a score")
