"""Several fusers as columns of one matrix: what bagging averages and stacking weighs.

Letters: n candidates of all queries, M members.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.fuser import BatchFuser
from intarsia.fusion.score.normalise import NORMALISERS
from intarsia.fusion.score.plain_methods import open_base
from intarsia.maths.arrays import Floats
from intarsia.maths.grouped import Groups

MEMBERS = "members"


def member_scores(member: BatchFuser, batch: CandidateBatch) -> NDArray[np.float64]:
    """One member's fused scores, float64 [n of the batch]; NaN for candidates that it dropped."""
    fused = member.fuse_batch(batch)
    scores_n = np.full(len(batch.rows_n), np.nan)
    scores_n[fused.kept_n] = fused.fused_n
    return scores_n


def comparable(scores_Mn: Floats, groups: Groups) -> Floats:
    """Columns on one scale, query by query (0.5 + z / 6); what a column cannot say gets its lowest of the query, 0.5 if it says nothing."""
    normal_Mn = NORMALISERS["z"](scores_Mn, groups, np.zeros(len(scores_Mn)))
    low_MG = groups.smallest(normal_Mn)
    return np.where(np.isfinite(normal_Mn), normal_Mn, groups.spread(np.where(np.isfinite(low_MG), low_MG, 0.5)))


def save_members(members: Sequence[BatchFuser], folder: Path) -> None:
    """Write each into a folder of its own."""
    for number, member in enumerate(members):
        (folder / MEMBERS / str(number)).mkdir(parents=True, exist_ok=True)
        member.save(folder / MEMBERS / str(number))


def open_members(folder: Path, num: int) -> tuple[BatchFuser, ...]:
    """What `save_members` wrote.

    Raises:
        ArtifactError: one is missing or torn.
    """
    return tuple(open_base(folder / MEMBERS / str(number)) for number in range(num))
