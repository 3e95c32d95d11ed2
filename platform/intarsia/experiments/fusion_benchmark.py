"""One arena from start to end: contenders are fitted, measured, judged, and measured again while more and more pictures are missing.

Who enters is `contenders.py`'s matter, what is said of it `evaluation/`'s. Letters: Q queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from intarsia.engine.retrieve import RetrieveStage
from intarsia.evaluation.compare import paired_bootstrap
from intarsia.evaluation.method_comparison import Arena, ArenaConfig, ComparedMethod, CurvePoint, curve_point, judge
from intarsia.experiments.fusion_methods import EQUAL, RRF, Fitted, FusionMethod, enter, fit, scorer_alone
from intarsia.experiments.fusion_training_data import EncodedQueries, measure, vectors_without_images, without_images
from intarsia.experiments.missing_images import lacks_images, take_images
from intarsia.experiments.parallel_fit import FitMany, fit_in_turn
from intarsia.fusion.feature.feature_fuser import FeatureFuser
from intarsia.fusion.feature.imputation import GeneratorImputer, Imputer
from intarsia.fusion.protocol import FusionTrainingData, ProductVectors
from intarsia.fusion.registry import parse_method_config
from intarsia.logs import log_warning
from intarsia.maths.arrays import Float32s, Floats
from intarsia.records.candidates import Candidates
from intarsia.records.judgment import SPLITS, Split

METRIC = "ndcg@10"
TEXT_ONLY = FusionMethod(name="text only", family="witness", config=parse_method_config({"kind": "weighted"}))
"""One who never reads a picture: the best weights over the retrievers that read words."""

Report = Callable[[str, int, int], None]
Imputers = Mapping[str, Imputer | None]
"""What fills the gaps, by name; None leaves them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkData:
    """All that contenders are fitted and measured on.

    Attributes:
        retrieve: the stage over the whole catalog.
        products: its vectors.
        asked: the queries of each split.
        candidates: theirs, over the whole catalog.
        into: by picture index that holds other vectors than the image encoder's: how these are made of them.
    """

    retrieve: RetrieveStage
    products: ProductVectors
    asked: Mapping[Split, EncodedQueries]
    candidates: Mapping[Split, Sequence[Candidates]]
    into: Mapping[str, Callable[[Float32s], Float32s]] = field(default_factory=dict)

    def training_data(self, split: Split) -> FusionTrainingData:
        """The queries of a split with their candidates."""
        return self.asked[split].training_data(self.candidates[split], self.products)

    def without_images(self) -> BenchmarkData:
        """The same queries in a shop that knows no picture; its stage is that of the whole catalog."""
        return replace(
            self,
            products=vectors_without_images(self.products),
            candidates={split: [without_images(one) for one in found] for split, found in self.candidates.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Which curves are drawn.

    Attributes:
        shares: of the pictures that are taken away.
        imputers: what fills the gaps.
        seed: of who loses them.
        generated: whether the generator of the adversarial contender, where one was fitted, fills them too.
        contenders: by name, beside the chosen one; none named: all.
    """

    shares: Sequence[float] = ()
    imputers: Imputers
    seed: int
    generated: bool = False
    methods: Sequence[str] = ()


def hold(
    entering: Sequence[FusionMethod],
    ring: BenchmarkData,
    *,
    missing: Missing,
    config: ArenaConfig,
    num_folds: int,
    seed: int,
    report: Report,
    fit_many: FitMany = fit_in_turn,
) -> Arena:
    """Fit all on train, choose by train queries that a fit did not see, measure on test, take pictures away.

    Validation queries stop fits and weigh columns, so there a fitted kind would look better than it is. The choice is made among train
    queries, each fused by the fit that was made without its fold; what is not fitted is measured on them as it is.

    Args:
        entering: the contenders; the retrievers alone, RRF and equal weights among them.
        ring: what they are fitted and measured on.
        missing: the curves.
        config: intervals and tests.
        num_folds: of the train queries; every fitted contender is fitted so many times more.
        seed: of the fits.
        report: told of each step, how much of how much is done.
        fit_many: fits them, perhaps beside each other.
    """
    fits = _fit_all(entering, ring, num_folds, seed, fit_many, report)
    entrants = [_enter(one, ring) for one in fits]
    blind_ring = ring.without_images()
    text_only = _fit(TEXT_ONLY, blind_ring, num_folds, seed)
    words = _enter(text_only, blind_ring)
    entrants.append(words)
    singles = [one for one in entrants if one.family == "baseline" and one.name not in (RRF, EQUAL)]
    references = ("bm25", max(singles, key=lambda one: _mean(one.validation_Q)).name, RRF, EQUAL)
    chosen_name = judge(entrants, metric=METRIC, references=references, config=config).chosen
    chosen = next(one for one in fits if one.method.name == chosen_name)
    blind_fit = _fit_witness(chosen.method, blind_ring, num_folds, seed)
    blind = _enter(blind_fit, blind_ring)
    if blind.test_Q is not None:
        entrants.append(blind)
    if _mean(blind.train_Q) > _mean(words.train_Q):
        text_only = blind_fit
    arena = judge(entrants, metric=METRIC, references=references, config=config)
    seeing_Q = next(one.test_Q for one in entrants if one.name == chosen_name)
    if blind.test_Q is not None and seeing_Q is not None:
        share = paired_bootstrap(seeing_Q, blind.test_Q, seed=config.seed, num_resamples=config.num_resamples)
        arena = replace(arena, image_share=share)
    drawn = {chosen_name, *(missing.methods or [one.name for one in entering])}
    able = [one for one in fits if one.method.name in drawn and arena.row(one.method.name).test is not None]
    return (
        _with_curves(arena, ring, able, fits, chosen, text_only, missing, config, report) if missing.shares else arena
    )


def _fit_all(
    entering: Sequence[FusionMethod], ring: BenchmarkData, num_folds: int, seed: int, fit_many: FitMany, report: Report
) -> list[Fitted]:
    """All of them, in their order; what is the scorer of another contender is taken from that one's fit."""
    own = [one for one in entering if not one.scorer_of]
    fits: dict[str, Fitted] = {}
    for fitted in fit_many(
        own, ring.training_data("train"), ring.training_data("validation"), seed, num_folds=num_folds
    ):
        fits[fitted.method.name] = fitted
        report(f"fits, {fitted.method.name}", len(fits), len(own))
    for method in entering:
        if method.scorer_of:
            fits[method.name] = scorer_alone(method, fits[method.scorer_of])
    return [fits[one.name] for one in entering]


def _with_curves(
    arena: Arena,
    ring: BenchmarkData,
    fits: Sequence[Fitted],
    everyone: Sequence[Fitted],
    chosen: Fitted,
    text_only: Fitted,
    missing: Missing,
    config: ArenaConfig,
    report: Report,
) -> Arena:
    """Every contender at every share with every imputer; the imputer of the chosen one is the best for it on validation.

    No curves where nothing but a generator was to fill the gaps, and there is none, nor where no system could be fitted on words.
    """
    generator = _generator(everyone) if missing.generated else None
    imputers = dict(missing.imputers) | ({"generated": generator} if isinstance(generator, GeneratorImputer) else {})
    if isinstance(generator, str):
        log_warning("no_generator", reason=generator)
        arena = replace(arena, no_curve=f"nothing is generated, as {generator}")
    if text_only.fuser is None:
        arena = replace(arena, no_curve=f"no curves, as the fit of {text_only.method.name} failed: {text_only.error}")
    if text_only.fuser is None or not imputers:
        return arena
    blind_ring = ring.without_images()
    text_only_Q = _values(text_only, blind_ring.products, blind_ring.candidates["test"], ring.asked["test"])
    curve: list[CurvePoint] = []
    on_validation: dict[str, list[float]] = {name: [] for name in imputers}
    steps = [(name, share) for name in imputers for share in sorted(missing.shares)]
    for number, (name, share) in enumerate(steps, start=1):
        stage, products = _stage(ring, share, imputers[name], missing.seed)
        candidates = ring.asked["test"].of(stage)
        for one in fits:
            values_Q = _values(one, products, candidates, ring.asked["test"])
            curve.append(curve_point(one.method.name, name, share, values_Q, text_only_Q, config))
        asked = ring.asked["validation"]
        on_validation[name].append(_mean(_values(chosen, products, asked.of(stage), asked)))
        report("missing pictures", number, len(steps))
    name = text_only.method.name
    flat = [curve_point(name, "", share, text_only_Q, text_only_Q, config) for share in sorted(missing.shares)]
    best = max(on_validation, key=lambda name: float(np.mean(on_validation[name])))
    return replace(arena, curve=(*curve, *flat), imputer=best, text_only=name)


def _stage(
    ring: BenchmarkData, share: float, imputer: Imputer | None, seed: int
) -> tuple[RetrieveStage, ProductVectors]:
    lacks_N = lacks_images(ring.retrieve.columns, share, seed)
    if imputer is None:
        return take_images(ring.retrieve, lacks_N, {})
    imputers = dict.fromkeys(ring.retrieve.vectors, imputer)
    if isinstance(
        imputer, GeneratorImputer
    ):  # it makes vectors of the image encoder, and other indexes hold what is made of these
        imputers |= {name: GeneratorImputer(generate=_then(imputer.generate, into)) for name, into in ring.into.items()}
    return take_images(ring.retrieve, lacks_N, imputers)


def _then(
    generate: Callable[[Float32s], Float32s], into: Callable[[Float32s], Float32s]
) -> Callable[[Float32s], Float32s]:
    return lambda text_nD: into(generate(text_nD))


def _generator(fits: Sequence[Fitted]) -> GeneratorImputer | str:
    """The generator of the adversarial contender, or why there is none."""
    for one in fits:
        if one.method.config is not None and one.method.config.kind == "adversarial":
            if not isinstance(one.fuser, FeatureFuser):
                return f"the fit of {one.method.name} failed: {one.error}"
            return GeneratorImputer(generate=one.fuser.scorer.generate_images)
    return "the kind adversarial, which learns to generate, did not enter"


def _values(
    fitted: Fitted, products: ProductVectors, candidates: Sequence[Candidates], asked: EncodedQueries
) -> Floats:
    return measure(fitted.reading(products), candidates, asked.qrels, METRIC)[0]


def _fit(method: FusionMethod, ring: BenchmarkData, num_folds: int, seed: int) -> Fitted:
    return fit(method, ring.training_data("train"), ring.training_data("validation"), seed, num_folds=num_folds)


def _enter(fitted: Fitted, ring: BenchmarkData) -> ComparedMethod:
    train, validation, test = ((ring.asked[split], ring.candidates[split]) for split in SPLITS)
    return enter(fitted, train, validation, test, metric=METRIC)


def _fit_witness(method: FusionMethod, ring: BenchmarkData, num_folds: int, seed: int) -> Fitted:
    witness = replace(method, name=f"{method.name}, no pictures", family="witness")
    fitted = _fit(witness, ring, num_folds, seed)
    return scorer_alone(witness, fitted) if method.scorer_of else fitted


def _mean(values_Q: Floats | None) -> float:
    """Over the queries with a positive; 0 without any."""
    return 0.0 if values_Q is None or not np.isfinite(values_Q).any() else float(np.nanmean(values_Q))
