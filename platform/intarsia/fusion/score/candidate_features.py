"""What a model may read of a candidate: every retriever's opinion in several forms, as columns that mean the same in every query.

Letters: n candidates of all queries, G queries, R retrievers, S signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from intarsia.errors import ReleaseMismatch
from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.score.normalise import NORMALISERS
from intarsia.maths.arrays import Floats

_RANK_DAMPING = 60.0  # Cormack, Clarke and Büttcher, SIGIR 2009: the reciprocal rank of `reciprocal_rank.py`
_FORMS = ("score", "min_max", "z", "reciprocal_rank")


def with_columns(batch: CandidateBatch, retrievers: Sequence[str]) -> CandidateBatch:
    """The same candidates with exactly these retrievers, in this order; one that was not asked scores and returned nothing.

    Raises:
        ReleaseMismatch: the batch has a retriever that is not among them.
    """
    unknown = [name for name in batch.retrievers if name not in retrievers]
    if unknown:
        raise ReleaseMismatch(
            f"the fuser was not fitted on scores of {', '.join(unknown)}, only on {', '.join(retrievers)}; "
            "run search_fusion over the release's retrievers"
        )
    scores_Rn = np.full((len(retrievers), len(batch.rows_n)), np.nan)
    ranks_Rn = np.zeros((len(retrievers), len(batch.rows_n)), np.int32)
    at = [retrievers.index(name) for name in batch.retrievers]
    scores_Rn[at], ranks_Rn[at] = batch.scores_Rn, batch.ranks_Rn
    return replace(batch, retrievers=tuple(retrievers), scores_Rn=scores_Rn, ranks_Rn=ranks_Rn)


def within_depth(batch: CandidateBatch, retrievers: Sequence[str], depth: int) -> tuple[CandidateBatch, np.ndarray]:
    """The candidates that some retriever returned within depth, with the columns of a fit; and which these are, bool [n]."""
    cut = with_columns(batch, retrievers).cut(depth)
    kept_n = np.asarray((cut.ranks_Rn > 0).any(axis=0))
    return cut.keep(kept_n), kept_n


def signal_names(retrievers: Sequence[str]) -> tuple[str, ...]:
    """The columns of `signals`, in order: the higher each is, the better its retriever finds the candidate."""
    return (*(f"{name}_{form}" for name in retrievers for form in _FORMS), "num_returned")


def signals(batch: CandidateBatch) -> Floats:
    """float64 [n, S]: of each retriever score, min_max, z (all NaN where it cannot score) and 1 / (60 + rank), 0 where it did not
    return the candidate; last, how many returned it.
    """
    lowest_R = np.zeros(len(batch.retrievers))  # only theoretical_min_max would read it
    of_form = {
        "score": batch.scores_Rn,
        "min_max": NORMALISERS["min_max"](batch.scores_Rn, batch.groups, lowest_R),
        "z": NORMALISERS["z"](batch.scores_Rn, batch.groups, lowest_R),
        "reciprocal_rank": np.where(batch.ranks_Rn > 0, 1.0 / (_RANK_DAMPING + batch.ranks_Rn), 0.0),
    }
    columns = [of_form[form][at] for at in range(len(batch.retrievers)) for form in _FORMS]
    return np.column_stack([*columns, (batch.ranks_Rn > 0).sum(axis=0).astype(np.float64)])
