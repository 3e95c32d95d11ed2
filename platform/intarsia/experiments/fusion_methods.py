"""The fusion methods of a comparison, and how they are fitted and measured.

The methods are each retriever alone, the plain fusions, and every method of the registry.
"""

from __future__ import annotations

import json
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from intarsia.evaluation.method_comparison import ComparedMethod, Family
from intarsia.experiments.fusion_training_data import EncodedQueries, measure_fuser, out_of_fold_metric
from intarsia.fusion.ensemble.cross_fit import CrossFitFuser, open_cross_fit
from intarsia.fusion.feature.feature_fuser import JOINT, FeatureConfig, FeatureFuser
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.method import MethodConfig
from intarsia.fusion.protocol import Fuser, FusionTrainingData, ProductVectors
from intarsia.fusion.registry import FUSION_METHODS, fit_fuser, open_fuser, parse_method_config, registered_method
from intarsia.fusion.spec import FUSION_FILE, FusionSpec
from intarsia.fusion.training_data import fit_per_fold
from intarsia.lake import staging_dir
from intarsia.logs import log_warning
from intarsia.names import RETRIEVERS
from intarsia.records.candidates import Candidates

RRF, EQUAL = "rrf", "equal weights"
_PLAIN_KINDS = ("rrf", "equal")
_NOT_COMPARED = ("convex",)  # its weights come from the config; without any it is `equal`
_TRAINING_DATA_FILE = "training_data.pickle"


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionMethod:
    """A method that orders candidates: one retriever (config None), or a fusion method with its settings.

    `scorer_of` names the method whose vector scorer this one uses on its own; both come from one fit.
    """

    name: str
    family: Family
    config: MethodConfig | None = None
    scorer_of: str = ""

    @property
    def reads_vectors(self) -> bool:
        """Whether it reads the product vectors."""
        return self.config is not None and registered_method(self.config.kind).reads_vectors

    @property
    def is_fitted(self) -> bool:
        """Whether it has fitted parts."""
        return self.config is not None and registered_method(self.config.kind).is_fitted

    def fit(self, train: FusionTrainingData, validation: FusionTrainingData, seed: int) -> Fuser:
        """The fuser, fitted on train."""
        return SingleRetriever(self.name) if self.config is None else fit_fuser(self.config, train, validation, seed)


@dataclass(frozen=True, slots=True)
class SingleRetriever:
    """The order of one retriever; candidates that it did not return are dropped."""

    retriever: str

    def fuse(self, candidates: Candidates) -> Candidates:
        """The candidates that it returned, by its own scores."""
        at = candidates.retrievers.index(self.retriever)
        returned = candidates.only(candidates.ranks_CR[:, at] > 0)
        return returned.with_fused(returned.scores_CR[:, at])

    def save(self, folder: Path) -> None:
        """Write it as the nearest fusion: all weight on one retriever."""
        FusionSpec(kind="convex", weights={name: float(name == self.retriever) for name in RETRIEVERS}).save(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedMethod:
    """A method with its fuser; `fuser` is None if the fit failed, and `error` says why.

    Attributes:
        folds: for each fold of the train queries the fuser fitted without them; empty for a method without fitted
            parts.
        fit_s: seconds to fit the fuser, without its folds.
    """

    method: FusionMethod
    fuser: Fuser | None
    folds: tuple[Fuser, ...] = ()
    fit_s: float = 0.0
    error: str = ""

    def over(self, products: ProductVectors) -> Fuser:
        """The same fuser over other product vectors."""
        assert self.fuser is not None
        if not self.method.reads_vectors:
            return self.fuser
        with tempfile.TemporaryDirectory() as folder:
            self.fuser.save(Path(folder))
            return open_fuser(Path(folder), products)

    def describe(self) -> str:
        """The normaliser and the weights of the fitted fusion, if it has any."""
        if self.fuser is None or isinstance(self.fuser, SingleRetriever):
            return ""
        with tempfile.TemporaryDirectory() as folder:
            self.fuser.save(Path(folder))
            return ", ".join(_header_facts(json.loads((Path(folder) / FUSION_FILE).read_text(encoding="utf-8"))))


def fusion_methods(
    retrievers: Sequence[str], kinds: Sequence[str], settings: Mapping[str, Mapping[str, Any]]
) -> list[FusionMethod]:
    """Every retriever alone, RRF and equal weights, then the other methods in the order of the registry.

    Args:
        retrievers: the retrievers of the candidates.
        kinds: names of the registry; empty means all of them.
        settings: by method; defaults where a method is not named.

    Raises:
        ConfigError: an unknown method, or settings that a method refuses.
    """
    for name in kinds:
        registered_method(name)
    for name, values in settings.items():  # also of methods that are not compared: report a mistake before computing
        parse_method_config({"kind": name, **values}, where=f"settings.{name}")
    baselines = [FusionMethod(name=name, family="baseline") for name in retrievers]
    baselines += [
        FusionMethod(name=name, family="baseline", config=parse_method_config({"kind": kind, **settings.get(kind, {})}))
        for kind, name in zip(_PLAIN_KINDS, (RRF, EQUAL), strict=True)
    ]
    compared = [
        name for name in FUSION_METHODS if name not in (*_PLAIN_KINDS, *_NOT_COMPARED) and (not kinds or name in kinds)
    ]
    configs = [parse_method_config({"kind": name, **settings.get(name, {})}) for name in compared]
    return baselines + [method for config in configs for method in _of_kind(config)]


def fit_method(
    method: FusionMethod, train: FusionTrainingData, validation: FusionTrainingData, seed: int, *, num_folds: int
) -> FittedMethod:
    """Fit a method on all train queries, and once without each fold; a failure is logged and recorded in the result."""
    if not method.is_fitted:
        return FittedMethod(method=method, fuser=method.fit(train, validation, seed))
    started_s = time.perf_counter()
    try:
        fuser = method.fit(train, validation, seed)
        fit_s = time.perf_counter() - started_s
        folds = fit_per_fold(lambda others: method.fit(others, validation, seed), train, num_folds)
    except Exception as error:  # any failure of one method: the other methods are still compared
        log_warning("method_failed", method=method.name, error=type(error).__name__)
        return FittedMethod(method=method, fuser=None, error=f"{type(error).__name__}: {error}")
    return FittedMethod(method=method, fuser=fuser, folds=folds, fit_s=fit_s)


def scorer_only(method: FusionMethod, fitted: FittedMethod) -> FittedMethod:
    """The vector scorer of a fitted method as a method of its own, without the retrievers' scores."""
    if fitted.fuser is None:
        return FittedMethod(method=method, fuser=None, error=fitted.error)
    full, *folds = map(_scorer_only, (fitted.fuser, *fitted.folds))
    fit_s = float(full.scorer.metadata.get("fit_s", fitted.fit_s))
    return FittedMethod(method=method, fuser=full, folds=tuple(folds), fit_s=fit_s)


def measure_method(
    fitted: FittedMethod,
    train: tuple[EncodedQueries, Sequence[Candidates]],
    validation: tuple[EncodedQueries, Sequence[Candidates]],
    test: tuple[EncodedQueries, Sequence[Candidates]],
    *,
    metric: str,
) -> ComparedMethod:
    """Measure a fitted method on all splits, train queries out of fold.

    Args:
        fitted: the method.
        train: the train queries and their candidates.
        validation: the same of the split that stops fits and weighs columns.
        test: the same of the test split.
        metric: such as ndcg@10.
    """
    name, family = fitted.method.name, fitted.method.family
    if fitted.fuser is None:
        return ComparedMethod(name=name, family=family, error=fitted.error)
    try:
        train_Q = out_of_fold_metric(CrossFitFuser(full=fitted.fuser, folds=fitted.folds), *train, metric)
        (validation_Q, _), (test_Q, ms_per_query) = (
            measure_fuser(fitted.fuser, candidates, queries.qrels, metric) for queries, candidates in (validation, test)
        )
    except Exception as error:  # as in `fit_method`
        log_warning("method_failed", method=name, error=type(error).__name__)
        return ComparedMethod(name=name, family=family, fit_s=fitted.fit_s, error=f"{type(error).__name__}: {error}")
    return ComparedMethod(
        name=name,
        family=family,
        description=fitted.describe(),
        train_Q=train_Q,
        validation_Q=validation_Q,
        test_Q=test_Q,
        fit_s=fitted.fit_s,
        ms_per_query=ms_per_query,
    )


class FitMethods(Protocol):
    """Fits several methods: `fit_sequentially` or `ParallelFit`."""

    def __call__(
        self,
        methods: Sequence[FusionMethod],
        train: FusionTrainingData,
        validation: FusionTrainingData,
        seed: int,
        *,
        num_folds: int,
    ) -> Iterator[FittedMethod]:
        """Every method, fitted, in any order."""
        ...


def fit_sequentially(
    methods: Sequence[FusionMethod],
    train: FusionTrainingData,
    validation: FusionTrainingData,
    seed: int,
    *,
    num_folds: int,
) -> Iterator[FittedMethod]:
    """Fit in this process, one after the other."""
    for method in methods:
        yield fit_method(method, train, validation, seed, num_folds=num_folds)


FitTask = tuple[int, FusionMethod]
"""(number, method)."""
FitOutcome = tuple[int, float, str]
"""(number of the method, seconds of its fit, error or empty); the fuser is in the shared folder."""
RunTasks = Callable[[Callable[[], Callable[[FitTask], FitOutcome]], Sequence[FitTask]], Iterator[FitOutcome]]
"""(open_worker, tasks) -> their outcomes in any order; see `onray/workers.py`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelFit:
    """Fits in worker processes, which read the training data from a shared folder and write the fusers to it.

    Attributes:
        run_tasks: runs tasks in workers.
        folder: a folder that every worker can reach; it is empty again afterwards.
    """

    run_tasks: RunTasks
    folder: Path

    def __call__(
        self,
        methods: Sequence[FusionMethod],
        train: FusionTrainingData,
        validation: FusionTrainingData,
        seed: int,
        *,
        num_folds: int,
    ) -> Iterator[FittedMethod]:
        """See `FitMethods`; methods without fitted parts stay in this process."""
        fitted = [method for method in methods if method.is_fitted]
        unfitted = [method for method in methods if not method.is_fitted]
        yield from fit_sequentially(unfitted, train, validation, seed, num_folds=num_folds)
        with staging_dir(self.folder) as shared:
            (shared / _TRAINING_DATA_FILE).write_bytes(pickle.dumps((train, validation)))
            open_worker = partial(_open_fit_worker, shared, seed, num_folds)
            for number, fit_s, error in self.run_tasks(open_worker, list(enumerate(fitted))):
                if error:
                    yield FittedMethod(method=fitted[number], fuser=None, fit_s=fit_s, error=error)
                    continue
                fuser = open_cross_fit(shared / str(number), train.products)
                yield FittedMethod(method=fitted[number], fuser=fuser.full, folds=fuser.folds, fit_s=fit_s)


def _open_fit_worker(shared: Path, seed: int, num_folds: int) -> Callable[[FitTask], FitOutcome]:
    train, validation = pickle.loads((shared / _TRAINING_DATA_FILE).read_bytes())
    return partial(_fit_task, shared, train, validation, seed, num_folds)


def _fit_task(
    shared: Path, train: FusionTrainingData, validation: FusionTrainingData, seed: int, num_folds: int, task: FitTask
) -> FitOutcome:
    number, method = task
    fitted = fit_method(method, train, validation, seed, num_folds=num_folds)
    if fitted.fuser is not None:
        (shared / str(number)).mkdir()
        CrossFitFuser(full=fitted.fuser, folds=fitted.folds).save(shared / str(number))
    return number, fitted.fit_s, fitted.error


def _scorer_only(fuser: Fuser) -> FeatureFuser:
    assert isinstance(fuser, FeatureFuser)
    assert isinstance(fuser.config, FeatureConfig)
    weights = {**dict.fromkeys(RETRIEVERS, 0.0), JOINT: 1.0}
    score_fuser = SpecFuser(FusionSpec(kind="convex", weights=weights))
    return replace(fuser, config=replace(fuser.config, use="only"), score_fuser=score_fuser)


def _of_kind(config: MethodConfig) -> Iterator[FusionMethod]:
    """One method per config; two for one that reads vectors: its score as one more column, and its score only."""
    if not FUSION_METHODS[config.kind].reads_vectors:
        yield FusionMethod(name=config.kind, family="score", config=config)
        return
    with_scores = f"{config.kind} with scores"
    yield FusionMethod(name=with_scores, family="column", config=config)
    yield FusionMethod(name=config.kind, family="feature", config=config, scorer_of=with_scores)


def _header_facts(header: Mapping[str, Any]) -> Iterator[str]:
    if "normaliser" in header and header["kind"] != "rrf":
        yield str(header["normaliser"])
    weights = header.get("weights")
    if isinstance(weights, Mapping) and (total := sum(weights.values())):
        yield " ".join(f"{name} {weight / total:.2f}" for name, weight in weights.items() if weight)
