"""The systems that an evaluation compares: each retriever, the plain fusions, the served fusion, and the ranker.

Letters: C candidates of one query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.engine.rank import RankStage
from intarsia.evaluation.qrels import Order
from intarsia.experiments.fusion_training_data import fused_order
from intarsia.experiments.judged_candidates import JudgedCandidates
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.protocol import Fuser
from intarsia.fusion.spec import FusionSpec
from intarsia.records.candidates import Candidates

Orders = list[Order]
"""One order per query."""

FUSED, RANKED = "fused", "ranked"
TEXT_ONLY = "text only"
"""The text-only fusion without a ranker: `FUSED` minus this is what images add to the fusion."""
PLAIN_FUSIONS = {"rrf": FusionSpec(kind="rrf"), "equal weights": FusionSpec(kind="equal")}


def all_orders(judged: Sequence[JudgedCandidates], fuser: Fuser, rank: RankStage) -> dict[str, Orders]:
    """Every system's orders of the same queries, by its name in the report."""
    candidates = [query.candidates for query in judged]
    retrievers = candidates[0].retrievers if candidates else ()  # the same for all: one stage retrieved them
    systems: dict[str, Orders] = {name: [_retriever_order(c, name) for c in candidates] for name in retrievers}
    for name, spec in PLAIN_FUSIONS.items():
        systems[name] = fused_orders(candidates, SpecFuser(spec))
    systems[FUSED] = fused_orders(candidates, fuser)
    systems[RANKED] = ranked_orders(judged, fuser, rank)
    return systems


def fused_orders(candidates: Sequence[Candidates], fuser: Fuser) -> Orders:
    """The order of each query by fused score."""
    return [fused_order(fuser, query_candidates) for query_candidates in candidates]


def ranked_orders(judged: Sequence[JudgedCandidates], fuser: Fuser, rank: RankStage) -> Orders:
    """The final order of each query, ranked one by one as in serving."""
    orders = []
    for query in judged:
        ranked = rank.rank([query.encoded.query], [fuser.fuse(query.candidates)])[0]
        orders.append(ranked.candidates.rows_C[ranked.order_C])
    return orders


def _retriever_order(candidates: Candidates, retriever: str) -> Order:
    """The products that one retriever returned, in its order."""
    ranks_C = candidates.ranks_CR[:, candidates.retrievers.index(retriever)]
    returned_C = np.flatnonzero(ranks_C > 0)
    return candidates.rows_C[returned_C[np.argsort(ranks_C[returned_C])]]
