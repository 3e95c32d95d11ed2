"""What the candidates' scores and ranks tell of a query: how sure each retriever is, and how far it agrees with the others.

Letters: n candidates of all queries, G queries, R retrievers, F facts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.score.normalise import NORMALISERS
from intarsia.maths.arrays import Floats

_TOP = 10
_FACTS = ("can", "best", "peak", "agreed")


def fact_names(retrievers: Sequence[str]) -> tuple[str, ...]:
    """The columns of `query_facts`, in order."""
    return tuple(f"{name}_{fact}" for fact in _FACTS for name in retrievers)


def query_facts(batch: CandidateBatch) -> Floats:
    """float64 [G, F], four facts of each retriever; all but the first are NaN where it can score nothing.

    - can: 1 if it scores some candidate, 0 if not (no such query part, or it is down);
    - best: its best score;
    - peak: standard deviations from its mean score to its best;
    - agreed: of its first ten, how many another one has among its first ten too, as a share of all that it has there.
    """
    groups, top_Rn = batch.groups, (batch.ranks_Rn > 0) & (batch.ranks_Rn <= _TOP)
    can_RG = groups.any(np.isfinite(batch.scores_Rn))
    z_Rn = NORMALISERS["z"](batch.scores_Rn, groups, np.zeros(len(batch.retrievers)))
    shared_Rn = top_Rn & (top_Rn.sum(axis=0) > 1)
    num_top_RG, num_shared_RG = groups.total(top_Rn.astype(np.float64)), groups.total(shared_Rn.astype(np.float64))
    agreed_RG = np.divide(num_shared_RG, num_top_RG, out=np.full(num_top_RG.shape, np.nan), where=num_top_RG > 0)
    facts = (can_RG.astype(np.float64), groups.largest(batch.scores_Rn), groups.largest(z_Rn), agreed_RG)
    return np.concatenate(facts).T.copy()
