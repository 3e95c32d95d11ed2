"""All fusion methods by name: how each is configured, fitted and opened. Conformance tests check every entry.

    config = parse_method_config({"kind": "stacking"})              # or StackingConfig(...), or a FusionSpec
    fuser = fit_fuser(config, train, validation, seed=13)           # train, validation: FusionTrainingData
    fuser.save(folder)
    fuser = open_fuser(folder, products)                            # products: for methods that read vectors

The scores of a fitted fuser are too good on the queries it was fitted on. A model that trains on fused scores of these
queries must use out-of-fold fusers: see `ensemble/cross_fit.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intarsia.config import build, nearest_of
from intarsia.errors import ArtifactError, ConfigError
from intarsia.fusion.ensemble.bagging import BaggedFuser, BaggingConfig, fit_bagging
from intarsia.fusion.ensemble.base_methods import BASE_METHODS
from intarsia.fusion.ensemble.stacking import StackedFuser, StackingConfig, fit_stacking
from intarsia.fusion.feature.config import FEATURE_METHODS
from intarsia.fusion.feature.feature_fuser import FeatureConfig, FeatureFuser, cross_fit_features, fit_features
from intarsia.fusion.method import MethodConfig, RegisteredMethod, read_fusion_header
from intarsia.fusion.protocol import Fuser, FusionTrainingData, ProductVectors
from intarsia.fusion.spec import FUSION_FILE

FUSION_METHODS: Mapping[str, RegisteredMethod[Any]] = {
    **BASE_METHODS,
    "bagging": RegisteredMethod(
        summary="mean of one method fitted on many bootstrap samples of the queries",
        config=BaggingConfig,
        fit=fit_bagging,
        open=BaggedFuser.open,
    ),
    "stacking": RegisteredMethod(
        summary="linear model over retrievers and other methods, fitted on out-of-fold scores",
        config=StackingConfig,
        fit=fit_stacking,
        open=StackedFuser.open,
    ),
    **{
        name: RegisteredMethod(
            summary=f"feature fusion ({name}): its score is fused with the retrievers' scores",
            config=FeatureConfig,
            fit=fit_features,
            open=FeatureFuser.open,
            reads_vectors=True,
            cross_fit=cross_fit_features,
        )
        for name in FEATURE_METHODS
    },
}

_NESTED_CONFIGS = ("base", "members", "fused_by")
"""Settings whose values are settings of other methods."""


def registered_method(name: str) -> RegisteredMethod[Any]:
    """Return the method of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in FUSION_METHODS:
        raise ConfigError(f"fusion method {name!r} is not known{nearest_of(name, FUSION_METHODS)}")
    return FUSION_METHODS[name]


def parse_method_config(values: Mapping[str, Any], *, where: str = "fusion") -> MethodConfig:
    """Build the settings of a method from plain values; `kind` names the method, all other settings have defaults.

    Args:
        values: as read from YAML or JSON.
        where: dotted path of these settings, for messages.

    Raises:
        ConfigError: `kind` is missing, unknown or not allowed inside another method; a setting is unknown or has an
            invalid value.

    >>> parse_method_config({"kind": "rrf", "depth": 50}).depth
    50
    """
    if "kind" not in values:
        raise ConfigError(f"setting {where}.kind is required: one of {', '.join(FUSION_METHODS)}")
    parsed = {
        name: _parse_nested(value, f"{where}.{name}") if name in _NESTED_CONFIGS else value
        for name, value in values.items()
    }
    config: MethodConfig = build(registered_method(values["kind"]).config, parsed, where=where)
    return config


def _parse_nested(value: Any, where: str) -> Any:
    """Build nested settings by their own method, so that an error message names that method's settings only."""
    if isinstance(value, list | tuple):
        return [_parse_nested(item, f"{where}[{number}]") for number, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    if "kind" in value and registered_method(value["kind"]) is not BASE_METHODS.get(value["kind"]):
        raise ConfigError(
            f"setting {where}.kind is {value['kind']!r}; allowed inside another method: {', '.join(BASE_METHODS)}"
        )
    return parse_method_config(value, where=where)


def fit_fuser(config: MethodConfig, train: FusionTrainingData, validation: FusionTrainingData, seed: int) -> Fuser:
    """Fit a fuser on `train`; `validation` is used for early stopping and for choosing settings.

    Raises:
        DataError: the method is fitted, and no candidate of the training data is relevant.
        ConfigError: no method has that name.
    """
    return registered_method(config.kind).fit(config, train, validation, seed)


def open_fuser(folder: Path, products: ProductVectors | None = None) -> Fuser:
    """Open the fuser that was saved in a folder, of any method.

    Raises:
        ArtifactError: a file is missing or damaged, or this version of the code does not know the method.
    """
    name = read_fusion_header(folder)["kind"]
    if name not in FUSION_METHODS:
        raise ArtifactError(
            f"{folder / FUSION_FILE} is of kind {name!r}; allowed: {', '.join(FUSION_METHODS)}. "
            "Fix: run search_fusion again"
        )
    return FUSION_METHODS[name].open(folder, products)
