"""All kinds of fusion by name: how each is configured, fitted and opened. One table, walked by the conformance tests.

    config = config_of({"kind": "stacking"})                       # or StackingConfig(…), or a FusionSpec
    fuser = fit_fuser(config, train, validation, seed=13)           # train, validation: Lessons
    fuser.save(folder)
    fuser = open_fuser(folder, products)                            # products only for kinds that read vectors

What is fitted on queries flatters them: whoever learns from fused candidates of the same queries fits by `crossed.fit_crossed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intarsia.config import build, nearest_of
from intarsia.errors import ArtifactError, ConfigError
from intarsia.fusion.ensemble.bagging import BaggedFuser, BaggingConfig, fit_bagging
from intarsia.fusion.ensemble.stacking import StackedFuser, StackingConfig, fit_stacking
from intarsia.fusion.feature.config import JOINT_KINDS
from intarsia.fusion.feature.feature_fuser import FeatureConfig, FeatureFuser, fit_features, fit_features_crossed
from intarsia.fusion.method import Kind, KindConfig, read_header
from intarsia.fusion.protocol import Fuser, FusionTrainingData, ProductVectors
from intarsia.fusion.score.plain_methods import BASE_KINDS
from intarsia.fusion.spec import FILE

KINDS: Mapping[str, Kind[Any]] = {
    **BASE_KINDS,
    "bagging": Kind(
        about="one kind fitted on many drawings of the queries; the mean",
        config=BaggingConfig,
        fit=fit_bagging,
        open=BaggedFuser.open,
    ),
    "stacking": Kind(
        about="a second model over retrievers and fusions, fitted on out-of-fold scores",
        config=StackingConfig,
        fit=fit_stacking,
        open=StackedFuser.open,
    ),
    **{
        kind: Kind(
            about=f"feature fusion ({kind}) as a column beside the retrievers'",
            config=FeatureConfig,
            fit=fit_features,
            open=FeatureFuser.open,
            reads_vectors=True,
            fit_crossed=fit_features_crossed,
        )
        for kind in JOINT_KINDS
    },
}


_OF_KINDS = ("base", "members", "fused_by")
"""Settings of some kinds that are settings of other kinds."""


def kind_of(name: str) -> Kind[Any]:
    """The kind of a name.

    Raises:
        ConfigError: no kind has it.
    """
    if name not in KINDS:
        raise ConfigError(f"fusion kind {name!r} is not known{nearest_of(name, KINDS)}")
    return KINDS[name]


def config_of(values: Mapping[str, Any], *, where: str = "fusion") -> KindConfig:
    """The settings of a kind from plain values, `kind` among them; all else has defaults.

    Raises:
        ConfigError: no kind, an unknown one or one that cannot be part of another, an unknown setting, or a value that the kind refuses.
    """
    if "kind" not in values:
        raise ConfigError(f"setting {where}.kind is required: one of {', '.join(KINDS)}")
    nested = {name: _nested(value, f"{where}.{name}") if name in _OF_KINDS else value for name, value in values.items()}
    config: KindConfig = build(kind_of(values["kind"]).config, nested, where=where)
    return config


def _nested(value: Any, where: str) -> Any:
    """Settings within settings, built by their kind, so that a mistake is told of that kind and not of all that it might be."""
    if isinstance(value, list | tuple):
        return [_nested(one, f"{where}[{number}]") for number, one in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    if "kind" in value and kind_of(value["kind"]) is not BASE_KINDS.get(value["kind"]):
        raise ConfigError(f"setting {where}.kind is {value['kind']!r}; allowed within others: {', '.join(BASE_KINDS)}")
    return config_of(value, where=where)


def fit_fuser(config: KindConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int) -> Fuser:
    """The fuser of some settings, fitted on train, with validation for early stopping and the choice of settings alone.

    Raises:
        DataError: the kind learns, and nothing is relevant in what it was given to learn from.
        ConfigError: no kind of that name.
    """
    return kind_of(config.kind).fit(config, train, validation, seed)


def open_fuser(folder: Path, products: ProductVectors | None = None) -> Fuser:
    """The fuser that was saved in a folder, of whatever kind.

    Raises:
        ArtifactError: there is none, it is torn, or of a kind that this code does not know.
    """
    kind = read_header(folder)["kind"]
    if kind not in KINDS:
        raise ArtifactError(f"{folder / FILE} is of kind {kind!r}{nearest_of(kind, KINDS)}; run search_fusion again")
    return KINDS[kind].open(folder, products)
