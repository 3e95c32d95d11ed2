"""Who enters the fusion arena: each retriever alone, the plain fusions, every kind of the registry; all are fitted and measured alike."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from intarsia.evaluation.method_comparison import ComparedMethod, Family
from intarsia.experiments.fusion_training_data import EncodedQueries, measure, out_of_fold_metric
from intarsia.fusion.ensemble.cross_fit import CrossFitFuser
from intarsia.fusion.feature.feature_fuser import JOINT, FeatureConfig, FeatureFuser
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.method import MethodConfig
from intarsia.fusion.protocol import Fuser, FusionTrainingData, ProductVectors
from intarsia.fusion.registry import FUSION_METHODS, fit_fuser, open_fuser, parse_method_config, registered_method
from intarsia.fusion.spec import FUSION_FILE, FusionSpec
from intarsia.fusion.training_data import fit_per_fold
from intarsia.logs import log_warning
from intarsia.names import RETRIEVERS
from intarsia.records.candidates import Candidates

RRF, EQUAL = "rrf", "equal weights"
_PLAIN = ("rrf", "equal")
_GIVEN = ("convex",)  # its weights are given, not found: without any it is `equal`


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionMethod:
    """Something that orders candidates: one retriever alone (no config), or a kind of fusion with its settings.

    `scorer_of` names the contender whose scorer of vectors this one is, alone: it is fitted with that one.
    """

    name: str
    family: Family
    config: MethodConfig | None = None
    scorer_of: str = ""

    @property
    def reads_vectors(self) -> bool:
        """Whether it reads the products' vectors, so that it changes with them."""
        return self.config is not None and registered_method(self.config.kind).reads_vectors

    @property
    def is_fitted(self) -> bool:
        """Whether it learns anything."""
        return self.config is not None and registered_method(self.config.kind).is_fitted

    def fit(self, train: FusionTrainingData, validation: FusionTrainingData, seed: int) -> Fuser:
        """The fuser, fitted on train."""
        return Alone(self.name) if self.config is None else fit_fuser(self.config, train, validation, seed)


@dataclass(frozen=True, slots=True)
class Alone:
    """The order of one retriever alone; what it did not return is dropped."""

    retriever: str

    def fuse(self, candidates: Candidates) -> Candidates:
        """The candidates that it returned, by its own scores."""
        at = candidates.retrievers.index(self.retriever)
        mine = candidates.only(candidates.ranks_CR[:, at] > 0)
        return mine.with_fused(mine.scores_CR[:, at])

    def save(self, folder: Path) -> None:
        """Write it as what it nearly is: a fusion that gives all weight to one retriever."""
        FusionSpec(kind="convex", weights={name: float(name == self.retriever) for name in RETRIEVERS}).save(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A contender with its fuser; none when the fit failed, and why.

    Attributes:
        folds: for each fold of the train queries the fuser that was fitted without them; none where nothing is fitted.
        fit_s: seconds to fit the fuser, its folds not counted.
    """

    method: FusionMethod
    fuser: Fuser | None
    folds: tuple[Fuser, ...] = ()
    fit_s: float = 0.0
    error: str = ""

    def reading(self, products: ProductVectors) -> Fuser:
        """The fuser over other product vectors, opened anew from what it saves."""
        assert self.fuser is not None
        if not self.method.reads_vectors:
            return self.fuser
        with tempfile.TemporaryDirectory() as folder:
            self.fuser.save(Path(folder))
            return open_fuser(Path(folder), products)

    def said(self) -> str:
        """What was fitted, in words: the weights of a spec, or the settings."""
        if self.fuser is None or isinstance(self.fuser, Alone):
            return ""
        with tempfile.TemporaryDirectory() as folder:
            self.fuser.save(Path(folder))
            return _brief(json.loads((Path(folder) / FUSION_FILE).read_text(encoding="utf-8")))


def methods(
    retrievers: Sequence[str], kinds: Sequence[str], settings: Mapping[str, Mapping[str, Any]]
) -> list[FusionMethod]:
    """Every retriever alone, RRF and equal weights, then the kinds in the order of the registry.

    Args:
        retrievers: of the candidates.
        kinds: names of the registry; none means all of them.
        settings: of a kind, by its name, where the defaults are not meant.

    Raises:
        ConfigError: a kind that is not known, or settings that it refuses.
    """
    for name in kinds:
        registered_method(name)
    for (
        name,
        values,
    ) in settings.items():  # also of kinds that do not enter: a mistake is told before anything is computed
        parse_method_config({"kind": name, **values}, where=f"settings.{name}")
    to_jsonable = [FusionMethod(name=name, family="baseline") for name in retrievers]
    to_jsonable += [
        FusionMethod(
            name=shown, family="baseline", config=parse_method_config({"kind": kind, **settings.get(kind, {})})
        )
        for kind, shown in zip(_PLAIN, (RRF, EQUAL), strict=True)
    ]
    asked = [name for name in FUSION_METHODS if name not in (*_PLAIN, *_GIVEN) and (not kinds or name in kinds)]
    others = [parse_method_config({"kind": name, **settings.get(name, {})}) for name in asked]
    return to_jsonable + [method for config in others for method in _of_kind(config)]


def fit(
    method: FusionMethod, train: FusionTrainingData, validation: FusionTrainingData, seed: int, *, num_folds: int
) -> Fitted:
    """Fit one contender, and again without each fold of the train queries; one that raises is reported, and the others go on."""
    if not method.is_fitted:
        return Fitted(method=method, fuser=method.fit(train, validation, seed))
    started_s = time.perf_counter()
    try:
        fuser = method.fit(train, validation, seed)
        fit_s = time.perf_counter() - started_s
        folds = fit_per_fold(lambda others: method.fit(others, validation, seed), train, num_folds)
    except Exception as error:  # whatever it is, the other contenders are worth having
        log_warning("method_failed", method=method.name, error=type(error).__name__)
        return Fitted(method=method, fuser=None, error=f"{type(error).__name__}: {error}")
    return Fitted(method=method, fuser=fuser, folds=folds, fit_s=fit_s)


def scorer_alone(method: FusionMethod, fitted: Fitted) -> Fitted:
    """The scorer of vectors of a fitted contender, ordering candidates by itself."""
    if fitted.fuser is None:
        return Fitted(method=method, fuser=None, error=fitted.error)
    full, *folds = map(_scorer_alone, (fitted.fuser, *fitted.folds))
    fit_s = float(full.scorer.metadata.get("fit_s", fitted.fit_s))
    return Fitted(method=method, fuser=full, folds=tuple(folds), fit_s=fit_s)


def _scorer_alone(fuser: Fuser) -> FeatureFuser:
    assert isinstance(fuser, FeatureFuser)
    assert isinstance(fuser.config, FeatureConfig)
    weights = {**dict.fromkeys(RETRIEVERS, 0.0), JOINT: 1.0}
    score_fuser = SpecFuser(FusionSpec(kind="convex", weights=weights))
    return replace(fuser, config=replace(fuser.config, use="only"), score_fuser=score_fuser)


def enter(
    fitted: Fitted,
    train: tuple[EncodedQueries, Sequence[Candidates]],
    validation: tuple[EncodedQueries, Sequence[Candidates]],
    test: tuple[EncodedQueries, Sequence[Candidates]],
    *,
    metric: str,
    name: str = "",
    family: Family | None = None,
) -> ComparedMethod:
    """Measure a fitted contender on all splits, a train query by the fuser that did not see it.

    Args:
        fitted: it.
        train: the queries, and their candidates.
        validation: the same of the split that stops fits and weighs columns.
        test: the same of the split that is touched once.
        metric: such as ndcg@10.
        name: another name than its own.
        family: another family than its own.
    """
    shown, group = name or fitted.method.name, family or fitted.method.family
    if fitted.fuser is None:
        return ComparedMethod(name=shown, family=group, error=fitted.error)
    try:
        train_Q = out_of_fold_metric(CrossFitFuser(full=fitted.fuser, folds=fitted.folds), *train, metric)
        (validation_Q, _), (test_Q, ms_per_query) = (
            measure(fitted.fuser, candidates, asked.qrels, metric) for asked, candidates in (validation, test)
        )
    except Exception as error:  # as in `fit`
        log_warning("method_failed", method=shown, error=type(error).__name__)
        return ComparedMethod(name=shown, family=group, fit_s=fitted.fit_s, error=f"{type(error).__name__}: {error}")
    return ComparedMethod(
        name=shown,
        family=group,
        said=fitted.said(),
        train_Q=train_Q,
        validation_Q=validation_Q,
        test_Q=test_Q,
        fit_s=fitted.fit_s,
        ms_per_query=ms_per_query,
    )


def _of_kind(config: MethodConfig) -> Iterator[FusionMethod]:
    """A kind as it is; of one that reads vectors its scorer, too."""
    if not FUSION_METHODS[config.kind].reads_vectors:
        yield FusionMethod(name=config.kind, family="score", config=config)
        return
    yield FusionMethod(name=f"{config.kind} beside", family="column", config=config)
    yield FusionMethod(name=config.kind, family="feature", config=config, scorer_of=f"{config.kind} beside")


def _brief(header: Mapping[str, Any]) -> str:
    return ", ".join(_facts(header))


def _facts(header: Mapping[str, Any]) -> Iterator[str]:
    if "normaliser" in header and header["kind"] != "rrf":
        yield str(header["normaliser"])
    weights = header.get("weights")
    if isinstance(weights, Mapping) and (total := sum(weights.values())):
        yield " ".join(f"{name} {weight / total:.2f}" for name, weight in weights.items() if weight)
