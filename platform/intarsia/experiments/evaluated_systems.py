"""The systems an evaluation sets beside each other, from one retrieval: each retriever alone, the plain fusions, ours, and the ranker.

Letters: C candidates of one query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from intarsia.engine.rank import RankStage
from intarsia.experiments.judged_candidates import JudgedCandidates
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.protocol import Fuser
from intarsia.fusion.spec import FusionSpec
from intarsia.records.candidates import Candidates, best_first

Orders = list[NDArray[np.int64]]
"""Product rows, best first, one array for each query."""

FUSED, RANKED = "fused", "ranked"
TEXT_ONLY = "text only"
"""The fusion of words alone (`text_only.py`), without a ranker: what `FUSED` is compared with to see what pictures bring."""
PLAIN_FUSIONS = {"rrf": FusionSpec(kind="rrf"), "equal weights": FusionSpec(kind="equal")}


def all_orders(judged: Sequence[JudgedCandidates], fuser: Fuser, rank: RankStage) -> dict[str, Orders]:
    """Every system's orders of the same queries, by its name in the report."""
    candidates = [each.candidates for each in judged]
    retrievers = candidates[0].retrievers if candidates else ()  # one stage made them all
    systems: dict[str, Orders] = {name: [_alone(each, name) for each in candidates] for name in retrievers}
    for name, spec in PLAIN_FUSIONS.items():
        systems[name] = fused_orders(candidates, SpecFuser(spec))
    systems[FUSED] = fused_orders(candidates, fuser)
    systems[RANKED] = ranked_orders(judged, fuser, rank)
    return systems


def fused_orders(candidates: Sequence[Candidates], fuser: Fuser) -> Orders:
    """The order of the fused scores."""
    return [_by_fused(fuser.fuse(each)) for each in candidates]


def ranked_orders(judged: Sequence[JudgedCandidates], fuser: Fuser, rank: RankStage) -> Orders:
    """The final order, query by query as online."""
    orders = []
    for each in judged:
        ranked = rank.rank([each.encoded.query], [fuser.fuse(each.candidates)])[0]
        orders.append(ranked.candidates.rows_C[ranked.order_C])
    return orders


def _alone(candidates: Candidates, retriever: str) -> NDArray[np.int64]:
    ranks_C = candidates.ranks_CR[:, candidates.retrievers.index(retriever)]
    returned_C = np.flatnonzero(ranks_C > 0)
    return candidates.rows_C[returned_C[np.argsort(ranks_C[returned_C])]]


def _by_fused(candidates: Candidates) -> NDArray[np.int64]:
    assert candidates.fused_C is not None
    return candidates.rows_C[best_first(candidates.fused_C, candidates.rows_C)]
