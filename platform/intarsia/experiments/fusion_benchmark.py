"""The benchmark of fusion methods: fit and measure all, choose one, and measure again with images missing.

`fusion_methods.py` defines the methods, `evaluation/method_comparison.py` the statistics. Letters: Q queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from intarsia.engine.retrieve import RetrieveStage
from intarsia.evaluation.method_comparison import (
    ComparedMethod,
    ComparisonConfig,
    MethodComparison,
    MissingImagesPoint,
    compare_methods,
    missing_images_point,
)
from intarsia.evaluation.significance import paired_bootstrap
from intarsia.experiments.fusion_methods import (
    EQUAL,
    RRF,
    FitMethods,
    FittedMethod,
    FusionMethod,
    fit_method,
    fit_sequentially,
    measure_method,
    scorer_only,
)
from intarsia.experiments.fusion_training_data import EncodedQueries, measure_fuser
from intarsia.experiments.judged_candidates import ReportProgress
from intarsia.experiments.missing_images import (
    missing_images_mask,
    remove_images,
    text_only_candidates,
    vectors_without_images,
)
from intarsia.fusion.feature.feature_fuser import FeatureFuser
from intarsia.fusion.feature.imputation import GeneratorImputer, Imputer
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from intarsia.fusion.registry import parse_method_config
from intarsia.logs import log_warning
from intarsia.maths.arrays import Float32s, Floats
from intarsia.records.candidates import Candidates
from intarsia.records.judgment import SPLITS, Split

METRIC = "ndcg@10"
TEXT_ONLY_METHOD = FusionMethod(name="text only", family="reference", config=parse_method_config({"kind": "weighted"}))
"""Reference: fusion weights tuned over the text retrievers (bm25, text)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkData:
    """Train, validation and test candidates with the retrieve stage that made them.

    Attributes:
        retrieve: the stage over the whole catalog.
        products: its product vectors.
        queries: the queries of each split.
        candidates: their candidates over the whole catalog.
        image_transforms: by name of an image index whose vectors are computed from those of the image encoder: the
            transform.
    """

    retrieve: RetrieveStage
    products: ProductVectors
    queries: Mapping[Split, EncodedQueries]
    candidates: Mapping[Split, Sequence[Candidates]]
    image_transforms: Mapping[str, Callable[[Float32s], Float32s]] = field(default_factory=dict)

    def training_data(self, split: Split) -> FusionTrainingData:
        """The queries of a split as training data."""
        return self.queries[split].training_data(self.candidates[split], self.products)

    def without_images(self) -> BenchmarkData:
        """The same queries with text-only candidates and no image vectors; `retrieve` is unchanged."""
        return replace(
            self,
            products=vectors_without_images(self.products),
            candidates={
                split: [text_only_candidates(query_candidates) for query_candidates in candidates]
                for split, candidates in self.candidates.items()
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingImagesPlan:
    """Which curves of missing images to measure.

    Attributes:
        shares: shares of the images to remove; empty measures no curve.
        imputers: by name, what replaces the removed vectors; None leaves the gaps.
        seed: draws the products that lose their images.
        generated: also impute with the generator of the method `adversarial`, if that was fitted.
        methods: names of the methods to measure, in addition to the chosen one; empty means all.
    """

    shares: Sequence[float] = ()
    imputers: Mapping[str, Imputer | None]
    seed: int
    generated: bool = False
    methods: Sequence[str] = ()


def run_benchmark(
    methods: Sequence[FusionMethod],
    data: BenchmarkData,
    *,
    missing: MissingImagesPlan,
    config: ComparisonConfig,
    num_folds: int,
    seed: int,
    report: ReportProgress,
    fit_methods: FitMethods = fit_sequentially,
) -> MethodComparison:
    """Fit all methods on train, choose one, measure all on test, and measure the curves of missing images.

    Validation queries stop fits and weigh columns, so validation values of fitted methods are optimistic. The choice is
    therefore made on train queries, each fused by the fit without its fold; methods without fitted parts are measured
    as they are.

    Args:
        methods: the methods to compare, among them each retriever alone, RRF and equal weights.
        data: queries and candidates.
        missing: the curves.
        config: bootstrap and test settings.
        num_folds: folds of the train queries; every fitted method is fitted 1 + num_folds times.
        seed: seed of the fits.
        report: called with the progress of each step.
        fit_methods: fits the methods, one by one or in parallel.
    """
    fitted_methods = _fit_all(methods, data, num_folds, seed, fit_methods, report)
    measured = [_measure(fitted, data) for fitted in fitted_methods]
    text_data = data.without_images()
    text_only = _fit(TEXT_ONLY_METHOD, text_data, num_folds, seed)
    text_only_measured = _measure(text_only, text_data)
    measured.append(text_only_measured)
    singles = [method for method in measured if method.family == "baseline" and method.name not in (RRF, EQUAL)]
    best_single = max(singles, key=lambda method: _mean(method.validation_Q))
    baselines = ("bm25", best_single.name, RRF, EQUAL)
    chosen_name = compare_methods(measured, metric=METRIC, baselines=baselines, config=config).chosen
    chosen = next(fitted for fitted in fitted_methods if fitted.method.name == chosen_name)
    chosen_without_images = _fit_without_images(chosen.method, text_data, num_folds, seed)
    without_images = _measure(chosen_without_images, text_data)
    if without_images.test_Q is not None:
        measured.append(without_images)
    if _mean(without_images.train_Q) > _mean(text_only_measured.train_Q):
        text_only = chosen_without_images
    comparison = compare_methods(measured, metric=METRIC, baselines=baselines, config=config)
    with_images_Q = next(method.test_Q for method in measured if method.name == chosen_name)
    if without_images.test_Q is not None and with_images_Q is not None:
        image_gain = paired_bootstrap(
            with_images_Q, without_images.test_Q, seed=config.seed, num_resamples=config.num_resamples
        )
        comparison = replace(comparison, image_gain=image_gain)
    if not missing.shares:
        return comparison
    names = {chosen_name, *(missing.methods or [method.name for method in methods])}
    curve_methods = [
        fitted
        for fitted in fitted_methods
        if fitted.method.name in names and comparison.row(fitted.method.name).test is not None
    ]
    return _with_curves(comparison, data, curve_methods, fitted_methods, chosen, text_only, missing, config, report)


def _fit_all(
    methods: Sequence[FusionMethod],
    data: BenchmarkData,
    num_folds: int,
    seed: int,
    fit_methods: FitMethods,
    report: ReportProgress,
) -> list[FittedMethod]:
    """All methods fitted, in their order; a method with `scorer_of` uses the fit of that method."""
    own_fit = [method for method in methods if not method.scorer_of]
    by_name: dict[str, FittedMethod] = {}
    train, validation = data.training_data("train"), data.training_data("validation")
    for fitted in fit_methods(own_fit, train, validation, seed, num_folds=num_folds):
        by_name[fitted.method.name] = fitted
        report(f"fits, {fitted.method.name}", len(by_name), len(own_fit))
    for method in methods:
        if method.scorer_of:
            by_name[method.name] = scorer_only(method, by_name[method.scorer_of])
    return [by_name[method.name] for method in methods]


def _with_curves(
    comparison: MethodComparison,
    data: BenchmarkData,
    curve_methods: Sequence[FittedMethod],
    all_methods: Sequence[FittedMethod],
    chosen: FittedMethod,
    text_only: FittedMethod,
    missing: MissingImagesPlan,
    config: ComparisonConfig,
    report: ReportProgress,
) -> MethodComparison:
    """Measure every method at every share with every imputer.

    The imputer of the chosen method is its best on validation.

    There are no curves if the generator is the only imputer and was not fitted, or if no text-only system could be
    fitted.
    """
    generator = _generator(all_methods) if missing.generated else None
    imputers = dict(missing.imputers) | ({"generated": generator} if isinstance(generator, GeneratorImputer) else {})
    if isinstance(generator, str):
        log_warning("no_generator", reason=generator)
        comparison = replace(comparison, no_curve=f"nothing is generated, as {generator}")
    if text_only.fuser is None:
        reason = f"no curves, as the fit of {text_only.method.name} failed: {text_only.error}"
        comparison = replace(comparison, no_curve=reason)
    if text_only.fuser is None or not imputers:
        return comparison
    text_data, test, validation = data.without_images(), data.queries["test"], data.queries["validation"]
    text_only_Q = _values(text_only, text_data.products, text_data.candidates["test"], test)
    curve: list[MissingImagesPoint] = []
    on_validation: dict[str, list[float]] = {name: [] for name in imputers}
    steps = [(name, share) for name in imputers for share in sorted(missing.shares)]
    for number, (name, share) in enumerate(steps, start=1):
        stage, products = _stage_without(data, share, imputers[name], missing.seed)
        candidates = test.retrieve(stage)
        for fitted in curve_methods:
            values_Q = _values(fitted, products, candidates, test)
            curve.append(missing_images_point(fitted.method.name, name, share, values_Q, text_only_Q, config))
        on_validation[name].append(_mean(_values(chosen, products, validation.retrieve(stage), validation)))
        report("missing images", number, len(steps))
    name = text_only.method.name
    text_only_curve = [
        missing_images_point(name, "", share, text_only_Q, text_only_Q, config) for share in sorted(missing.shares)
    ]
    best_imputer = max(on_validation, key=lambda imputer: float(np.mean(on_validation[imputer])))
    return replace(comparison, curve=(*curve, *text_only_curve), imputer=best_imputer, text_only=name)


def _stage_without(
    data: BenchmarkData, share: float, imputer: Imputer | None, seed: int
) -> tuple[RetrieveStage, ProductVectors]:
    is_missing_N = missing_images_mask(data.retrieve.columns, share, seed)
    if imputer is None:
        return remove_images(data.retrieve, is_missing_N, {})
    imputers = dict.fromkeys(data.retrieve.vectors, imputer)
    if isinstance(imputer, GeneratorImputer):
        # it generates vectors of the image encoder; other indexes hold transforms of them
        imputers |= {
            name: GeneratorImputer(generate=_then(imputer.generate, transform))
            for name, transform in data.image_transforms.items()
        }
    return remove_images(data.retrieve, is_missing_N, imputers)


def _then(
    generate: Callable[[Float32s], Float32s], transform: Callable[[Float32s], Float32s]
) -> Callable[[Float32s], Float32s]:
    return lambda text_nD: transform(generate(text_nD))


def _generator(fitted_methods: Sequence[FittedMethod]) -> GeneratorImputer | str:
    """The generator of the method `adversarial`, or the reason why there is none."""
    for fitted in fitted_methods:
        if fitted.method.config is not None and fitted.method.config.kind == "adversarial":
            if not isinstance(fitted.fuser, FeatureFuser):
                return f"the fit of {fitted.method.name} failed: {fitted.error}"
            return GeneratorImputer(generate=fitted.fuser.scorer.generate_images)
    return "the method adversarial, which fits a generator, is not among the methods"


def _values(
    fitted: FittedMethod, products: ProductVectors, candidates: Sequence[Candidates], queries: EncodedQueries
) -> Floats:
    return measure_fuser(fitted.over(products), candidates, queries.qrels, METRIC)[0]


def _fit(method: FusionMethod, data: BenchmarkData, num_folds: int, seed: int) -> FittedMethod:
    train, validation = data.training_data("train"), data.training_data("validation")
    return fit_method(method, train, validation, seed, num_folds=num_folds)


def _measure(fitted: FittedMethod, data: BenchmarkData) -> ComparedMethod:
    train, validation, test = ((data.queries[split], data.candidates[split]) for split in SPLITS)
    return measure_method(fitted, train, validation, test, metric=METRIC)


def _fit_without_images(method: FusionMethod, text_data: BenchmarkData, num_folds: int, seed: int) -> FittedMethod:
    reference = replace(method, name=f"{method.name}, no images", family="reference")
    fitted = _fit(reference, text_data, num_folds, seed)
    return scorer_only(reference, fitted) if method.scorer_of else fitted


def _mean(values_Q: Floats | None) -> float:
    """The mean over the queries with a relevant product; 0 without any."""
    return 0.0 if values_Q is None or not np.isfinite(values_Q).any() else float(np.nanmean(values_Q))
