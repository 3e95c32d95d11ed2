"""Find the best fusion for this catalog's judged queries.

Ray Tune searches on train, validation queries choose, and the result has every trial.

`tune_spaces/fusion_space.py` defines what is tried, `experiments/fusion_objective.py` what is maximised. Candidates are
retrieved once, by the stage that serves. A stopped search resumes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from intarsia.config import setting, to_jsonable
from intarsia.engine.config import EngineConfig
from intarsia.engine.search import open_retrieve, product_vectors
from intarsia.evaluation.known_items import is_synthetic
from intarsia.evaluation.qrels import qrels_by_query
from intarsia.experiments.fusion_objective import PackedCandidates, TrialData, fuser_ndcg
from intarsia.experiments.fusion_search_result import (
    CUTOFF,
    TRIALS_FILE,
    FusionSearch,
    MeasuredFusion,
    best_distinct,
    best_of_kind,
    compare_with_chosen,
    describe_fusion,
    plain_fusions,
    result_lines,
    single_retrievers,
    spec_of,
    with_shrunk_weights,
    with_weights_by_kind,
)
from intarsia.experiments.fusion_training_data import EncodedQueries
from intarsia.experiments.judged_candidates import UNRELEASED, check_judged, judged_candidates, read_judged, row_numbers
from intarsia.experiments.text_only_fusion import TextOnlyData, choose_text_only, save_text_only
from intarsia.fusion.ensemble.cross_fit import CrossFitFuser, cross_fit
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.method import MethodConfig
from intarsia.fusion.protocol import FusionTrainingData
from intarsia.fusion.registry import fit_fuser
from intarsia.fusion.score.weighted import WeightedConfig
from intarsia.fusion.spec import FusionSpec
from intarsia.ids import sha256_json, short
from intarsia.lake import Lake, write_json
from intarsia.maths.arrays import Floats
from intarsia.maths.ndcg import mean_known
from intarsia.onray.tuning import TrialsConfig
from intarsia.records.judgment import Split
from pipelines.job import Counts, Job, JobProgress, cache_key, main
from tune_spaces.fusion_search import FusionSearchPlan, search_fusions
from tune_spaces.fusion_space import FusionSpaceConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFusionConfig:
    """Retrieval depths, the search space, and the size of the search."""

    engine: EngineConfig = setting("retrieval and ranking depths; saved with the fusion", factory=EngineConfig)
    space: FusionSpaceConfig = setting("which fusions are tried", factory=FusionSpaceConfig)
    num_trials: int = setting("trials of methods without fitted parts", 60)
    num_fitted_trials: int = setting(
        "trials of fitted methods, each fitted num_folds times; the defaults of every method are always tried", 1
    )
    num_at_once: int = setting("concurrent trials; changes which points are tried", 2, advanced=True)
    num_finalists: int = setting("best trials on train that are measured on validation", 5, advanced=True)
    trials: TrialsConfig = setting("resources and early stopping of a trial", factory=TrialsConfig)
    num_folds: int = setting("folds of the train queries for fitted methods", 3, advanced=True)
    num_by_kind: int = setting("finalists that are also tried with weights by kind of query", 2, advanced=True)
    simplex_steps: int = setting("weights by kind come from a grid with steps of 1 / simplex_steps", 10, advanced=True)
    min_queries_by_kind: int = setting("fewest train queries of a kind that gets its own weights", 30, advanced=True)
    max_synthetic_loss: float = setting(
        "when all queries are synthetic: the share of (1 - nDCG@10) that may be lost by moving the weights towards "
        "equal weights; queries of title words favour bm25",
        0.1,
        advanced=True,
    )
    seed: int = setting("seed of the search and of the intervals", 13, advanced=True)

    def __post_init__(self) -> None:
        for name in ("num_trials", "num_at_once", "num_finalists", "simplex_steps", "min_queries_by_kind"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.num_folds < 2:
            raise ValueError(f"num_folds is {self.num_folds}; allowed: 2 or more")
        for name in ("num_fitted_trials", "num_by_kind", "max_synthetic_loss"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class _SplitData:
    """The queries of one split.

    Attributes:
        packed: with all retrievers.
        training_data: the same queries for fitting; None if no fitted method is searched.
        text_only: with the text retrievers; None for a catalog without images.
    """

    packed: PackedCandidates
    training_data: FusionTrainingData | None
    text_only: TextOnlyData | None


def run(config: SearchFusionConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Judged queries and their candidates -> fusion_spec with the table of all trials.

    With images in the catalog it also has the text-only fusion.
    """
    splits: tuple[Split, ...] = ("train", "validation")
    train, validation = (read_judged_split(lake, config, split, progress) for split in splits)
    only_synthetic = all(is_synthetic(query.query_id) for query in read_judged(lake, splits)[0])
    search = search_fusion(
        train.packed,
        validation.packed,
        config,
        folder=lake.root,
        progress=progress,
        only_synthetic=only_synthetic,
        training_data=(train.training_data, validation.training_data),
        identity=short(sha256_json(cache_key(JOB, config, lake))),
    )
    assert search.chosen.spec is not None
    assert search.chosen.validation is not None
    with lake.publish("fusion_spec", {"kind": search.chosen.spec.kind}) as folder:
        fit_chosen(search.chosen.spec, train.training_data, validation.training_data, config).save(folder)
        config.engine.save(folder)
        write_json(folder / TRIALS_FILE, to_jsonable(search))
        lines = result_lines(search)
        if train.text_only is not None and validation.text_only is not None:
            spec = choose_text_only(
                train.text_only,
                validation.text_only,
                WeightedConfig(normalisers=config.space.normalisers, depth=config.engine.depth),
                max_synthetic_loss=config.max_synthetic_loss if only_synthetic else None,
                seed=config.seed,
            )
            save_text_only(spec, folder)
            lines.append(f"text only: {describe_fusion(spec)}")
    print("\n".join(lines))
    return {
        "trials": len(search.trials),
        "failed": sum(trial.error is not None for trial in search.trials),
        "stopped": sum(trial.stopped for trial in search.trials),
        "kind": search.chosen.spec.kind,
        "validation_ndcg@10": search.chosen.validation.mean,
    }


def read_judged_split(lake: Lake, config: SearchFusionConfig, split: Split, progress: JobProgress) -> _SplitData:
    """The judged queries of one split, with their candidates."""
    judged = judged_candidates(lake, config.engine, [split], partial(_report_split, progress, split))
    _, judgments = read_judged(lake, [split])
    retrieve = open_retrieve(lake.current("indexes").path, config=config.engine, release_id=UNRELEASED)
    qrels = qrels_by_query(judgments, [query.judged.query_id for query in judged], row_numbers(retrieve))
    queries = EncodedQueries.of(judged, qrels)
    candidates = [query.candidates for query in judged]
    training_data = None
    if config.space.fitted:
        training_data = queries.training_data(candidates, product_vectors(retrieve.vectors))
    text_only = TextOnlyData.of(queries, candidates) if retrieve.columns.num_images.any() else None
    return _SplitData(packed=PackedCandidates.of(candidates, qrels), training_data=training_data, text_only=text_only)


def search_fusion(
    train: PackedCandidates,
    validation: PackedCandidates,
    config: SearchFusionConfig,
    *,
    folder: Path,
    progress: JobProgress,
    only_synthetic: bool = False,
    training_data: tuple[FusionTrainingData | None, FusionTrainingData | None] = (None, None),
    identity: str = "",
) -> FusionSearch:
    """Tune on train, add weights by kind of query to the best trials, choose on validation.

    Equal inputs give equal results.

    Fusions without fitted parts are chosen on validation queries, so their validation means are slightly optimistic;
    the test split gives unbiased ones. Validation queries stop the fits of fitted methods and weigh their columns, so a
    fitted method is chosen on train queries instead: if its out-of-fold mean is higher than the train mean of the best
    fusion without fitted parts. Synthetic queries choose neither weights by kind nor fitted methods, and the weights
    they choose are moved towards equal weights.

    Args:
        train: the train queries.
        validation: the validation queries; no query is in both.
        config: search space and size.
        folder: where Ray Tune stores its state while it runs.
        progress: called after every trial.
        only_synthetic: there are no judged queries.
        training_data: the train and validation queries as training data, required by fitted methods.
        identity: identifies everything that decides the result; a stopped search resumes under it.

    Raises:
        DataError: no product is relevant to any query of a split.
        ConfigError: every trial failed.
    """
    check_judged(train.judged_QJ, "train")
    check_judged(validation.judged_QJ, "validation")
    data = TrialData(packed=train, train=training_data[0], validation=training_data[1])
    space = effective_space(config, only_synthetic=only_synthetic)
    plan = FusionSearchPlan(
        space=space,
        max_depth=config.engine.depth,
        num_trials=config.num_trials,
        num_fitted_trials=config.num_fitted_trials,
        num_at_once=config.num_at_once,
        num_folds=config.num_folds,
        trials=config.trials,
        seed=config.seed,
    )
    trials = search_fusions(plan, data, folder=folder, progress=progress, identity=identity)
    best = best_distinct(trials, config.num_finalists)
    by_kind = [
        with_weights_by_kind(trial, train, num_steps=config.simplex_steps, min_queries=config.min_queries_by_kind)
        for trial in best[: 0 if only_synthetic else config.num_by_kind]
    ]
    plain = [
        MeasuredFusion(name=name, spec=spec, train=mean_known(train.ndcg(spec, CUTOFF)))
        for name, spec in plain_fusions(config.engine.depth).items()
    ]
    unfitted = (*plain, *best, *(fusion for fusion in by_kind if fusion is not None))
    finalists = [(fusion, validation.ndcg(spec_of(fusion), CUTOFF)) for fusion in unfitted]
    # max returns the first of equals, which is the simplest
    chosen, chosen_Q = max(finalists, key=lambda finalist: mean_known(finalist[1]))
    for kind in space.fitted:
        fitted = best_of_kind(trials, kind)
        if fitted is None:
            continue
        finalists.append((fitted, _fitted_values(fitted, data, config)))
        if (fitted.train or 0.0) > (chosen.train or 0.0):
            chosen, chosen_Q = finalists[-1]
    if only_synthetic:
        shrunk = with_shrunk_weights(chosen, [train, validation], max_loss=config.max_synthetic_loss)
        finalists.append((shrunk, validation.ndcg(spec_of(shrunk), CUTOFF)))
        chosen, chosen_Q = finalists[-1]
    compared = compare_with_chosen([*single_retrievers(train, validation), *finalists], chosen_Q, config.seed)
    num_baselines = len(compared) - len(finalists) + len(plain)
    return FusionSearch(
        chosen=next(fusion for fusion in compared if fusion.name == chosen.name),
        baselines=tuple(compared[:num_baselines]),
        finalists=tuple(compared[num_baselines:]),
        trials=tuple(trials),
    )


def fit_chosen(
    spec: MethodConfig,
    train: FusionTrainingData | None,
    validation: FusionTrainingData | None,
    config: SearchFusionConfig,
) -> CrossFitFuser:
    """The chosen fusion; a fitted method also has one fuser per fold, for training on out-of-fold fused scores."""
    if isinstance(spec, FusionSpec):
        return CrossFitFuser(full=SpecFuser(spec))
    assert train is not None and validation is not None
    return cross_fit(spec, train, validation, num_folds=config.num_folds, seed=config.seed)


def effective_space(config: SearchFusionConfig, *, only_synthetic: bool) -> FusionSpaceConfig:
    """The space without fitted methods if all queries are synthetic, and with one depth if `judged_only`."""
    space = config.space
    if config.engine.judged_only:
        space = replace(space, depths=(config.engine.depth,))
    if only_synthetic:
        kinds = tuple(kind for kind in space.kinds if kind not in space.fitted) or ("equal",)
        space = replace(space, kinds=kinds, settings={})
    return space


def _fitted_values(fusion: MeasuredFusion, data: TrialData, config: SearchFusionConfig) -> Floats:
    """The validation values of a fitted method, fitted on all train queries."""
    assert fusion.spec is not None and data.train is not None and data.validation is not None
    fuser = fit_fuser(fusion.spec, data.train, data.validation, config.seed)
    return fuser_ndcg(fuser, data.validation, CUTOFF)


def _report_split(progress: JobProgress, split: Split, step: str, done: int, total: int) -> None:
    progress(f"{split} {step}", done, total)


JOB = Job(
    name="search_fusion",
    summary="find the fusion method, normaliser and weights on judged queries (Ray Tune + Optuna)",
    config=SearchFusionConfig,
    reads=("indexes", "query_encoders", "queries", "judgments"),
    optional_reads=("fold_indexes",),
    writes=("fusion_spec",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
