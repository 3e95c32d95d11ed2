"""The base methods: fusion methods that can be part of another method.

A base method can be the base of bagging, a member of stacking, or the `fused_by` of a feature fusion method. The base
methods are the methods without fitted parts and those that fit one model. `registry.py` adds the ensembles and the
feature fusion methods.

Shapes: n candidates of all queries, M members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from intarsia.errors import ArtifactError
from intarsia.fusion.batch import CandidateBatch
from intarsia.fusion.ensemble.boosting import BoostedFuser, BoostingConfig, fit_boosting
from intarsia.fusion.fuser import BatchFuser, SpecFuser
from intarsia.fusion.method import MethodConfig, RegisteredMethod, read_fusion_header
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from intarsia.fusion.score.gate import GateConfig, GatedFuser, fit_gate
from intarsia.fusion.score.normalise import NORMALISERS
from intarsia.fusion.score.weighted import WeightedConfig, fit_weighted
from intarsia.fusion.spec import FUSION_FILE, FusionSpec
from intarsia.maths.arrays import Floats
from intarsia.maths.grouped import Groups

BaseMethodConfig = FusionSpec | WeightedConfig | BoostingConfig | GateConfig

MEMBERS = "members"
"""Folder of a saved ensemble that holds its members, each in a numbered folder."""


def _fit_spec(config: FusionSpec, train: FusionTrainingData, validation: FusionTrainingData, seed: int) -> SpecFuser:
    return SpecFuser(config)


def _open_spec(folder: Path, products: ProductVectors | None) -> SpecFuser:
    return SpecFuser(FusionSpec.open(folder))


def _spec_method(summary: str) -> RegisteredMethod[FusionSpec]:
    return RegisteredMethod(summary=summary, config=FusionSpec, fit=_fit_spec, open=_open_spec, is_fitted=False)


BASE_METHODS: Mapping[str, RegisteredMethod[Any]] = {
    "rrf": _spec_method("sum of reciprocal ranks"),
    "convex": _spec_method("weighted mean of normalised scores, with given weights"),
    "equal": _spec_method("mean of normalised scores"),
    "comb_sum": _spec_method("sum of normalised scores over the retrievers that returned the candidate"),
    "comb_mnz": _spec_method("comb_sum times the number of retrievers that returned the candidate"),
    "weighted": RegisteredMethod(
        summary="weighted mean of normalised scores, with weights found on train; saved and opened as convex",
        config=WeightedConfig,
        fit=fit_weighted,
        open=_open_spec,
    ),
    "gate": RegisteredMethod(
        summary="weighted mean with weights predicted for each query; the common weights where uncertain",
        config=GateConfig,
        fit=fit_gate,
        open=GatedFuser.open,
    ),
    "boosting": RegisteredMethod(
        summary="LambdaMART trees over scores, normalised scores and ranks",
        config=BoostingConfig,
        fit=fit_boosting,
        open=BoostedFuser.open,
    ),
}


def fit_base(config: MethodConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int) -> BatchFuser:
    """Fit a base method; see `registry.fit_fuser`."""
    return cast(BatchFuser, BASE_METHODS[config.kind].fit(config, train, validation, seed))


def open_base(folder: Path) -> BatchFuser:
    """Open a saved fuser of a base method; see `registry.open_fuser`.

    Raises:
        ArtifactError: a file is missing or damaged, or the method is not a base method.
    """
    name = read_fusion_header(folder)["kind"]
    if name not in BASE_METHODS:
        raise ArtifactError(
            f"{folder / FUSION_FILE} is of kind {name!r}; allowed: {', '.join(BASE_METHODS)}. "
            "Fix: run search_fusion again"
        )
    return cast(BatchFuser, BASE_METHODS[name].open(folder, None))


def member_scores(member: BatchFuser, batch: CandidateBatch) -> Floats:
    """Return the fused scores of one member, float64 [n]; NaN for candidates that it dropped."""
    fused = member.fuse_batch(batch)
    scores_n = np.full(len(batch.rows_n), np.nan)
    scores_n[fused.kept_n] = fused.fused_n
    return scores_n


def standardise_columns(scores_Mn: Floats, groups: Groups) -> Floats:
    """Bring columns to one scale within each query, 0.5 + z / 6.

    A missing score (NaN) gets the column's lowest value of the query, or 0.5 if the column has no score in the query.
    """
    normal_Mn = NORMALISERS["z"](scores_Mn, groups, np.zeros(len(scores_Mn)))
    low_MG = groups.smallest(normal_Mn)
    return np.where(np.isfinite(normal_Mn), normal_Mn, groups.spread(np.where(np.isfinite(low_MG), low_MG, 0.5)))


def save_members(members: Sequence[BatchFuser], folder: Path) -> None:
    """Save each member to a numbered folder."""
    for number, member in enumerate(members):
        (folder / MEMBERS / str(number)).mkdir(parents=True, exist_ok=True)
        member.save(folder / MEMBERS / str(number))


def open_members(folder: Path, num: int) -> tuple[BatchFuser, ...]:
    """Open the members that `save_members` wrote.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    return tuple(open_base(folder / MEMBERS / str(number)) for number in range(num))
