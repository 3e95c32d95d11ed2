"""The kinds that stand on their own: those without fitted parts, and those that fit one model. Ensembles are made of them.

`registry.py` is what others call; it knows the ensembles and the feature kinds too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from intarsia.config import nearest_of
from intarsia.errors import ArtifactError
from intarsia.fusion.ensemble.boosting import BoostedFuser, BoostingConfig, fit_boosting
from intarsia.fusion.fuser import BatchFuser, SpecFuser
from intarsia.fusion.method import Kind, KindConfig, read_header
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from intarsia.fusion.score.gate import GateConfig, GatedFuser
from intarsia.fusion.score.gate_fit import fit_gate
from intarsia.fusion.score.weighted import WeightedConfig, fit_weighted
from intarsia.fusion.spec import FILE, FusionSpec

BaseConfig = FusionSpec | WeightedConfig | BoostingConfig | GateConfig


def _fit_spec(config: FusionSpec, train: FusionTrainingData, validation: FusionTrainingData, seed: int) -> SpecFuser:
    return SpecFuser(config)


def _open_spec(folder: Path, products: ProductVectors | None) -> SpecFuser:
    return SpecFuser(FusionSpec.open(folder))


def _spec_kind(about: str) -> Kind[FusionSpec]:
    return Kind(about=about, config=FusionSpec, fit=_fit_spec, open=_open_spec, is_fitted=False)


BASE_KINDS: Mapping[str, Kind[Any]] = {
    "rrf": _spec_kind("reciprocal ranks, summed"),
    "convex": _spec_kind("weighted average of normalised scores, weights given"),
    "equal": _spec_kind("average of normalised scores"),
    "comb_sum": _spec_kind("sum of normalised scores over who returned the candidate"),
    "comb_mnz": _spec_kind("that sum, times how many returned the candidate"),
    "weighted": Kind(
        about="weighted average of normalised scores, weights found on train; saved and opened as convex",
        config=WeightedConfig,
        fit=fit_weighted,
        open=_open_spec,
    ),
    "gate": Kind(
        about="weighted average, weights predicted for each query; the common ones where unsure",
        config=GateConfig,
        fit=fit_gate,
        open=GatedFuser.open,
    ),
    "boosting": Kind(
        about="LambdaMART trees over scores, normalised scores and ranks",
        config=BoostingConfig,
        fit=fit_boosting,
        open=BoostedFuser.open,
    ),
}


def fit_base(config: KindConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int) -> BatchFuser:
    """As `registry.fit_fuser`, of a kind in this table."""
    return cast(BatchFuser, BASE_KINDS[config.kind].fit(config, train, validation, seed))


def open_base(folder: Path) -> BatchFuser:
    """As `registry.open_fuser`, of a kind in this table.

    Raises:
        ArtifactError: there is none, it is torn, or of a kind that is not in the table.
    """
    kind = read_header(folder)["kind"]
    if kind not in BASE_KINDS:
        raise ArtifactError(
            f"{folder / FILE} is of kind {kind!r}{nearest_of(kind, BASE_KINDS)}; run search_fusion again"
        )
    return cast(BatchFuser, BASE_KINDS[kind].open(folder, None))
