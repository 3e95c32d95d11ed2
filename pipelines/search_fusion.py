"""Which fusion is best on this catalog's judged queries: found by Ray Tune on train, chosen on validation, the losers reported.

Candidates are computed once, by the stage that serves. What fusions are tried is `tune_spaces/fusion.py`'s matter, what one is worth
`engine/fusion_trials.py`'s. A search that was stopped goes on where it stood.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from intarsia.config import fingerprint, setting, to_jsonable
from intarsia.engine.config import EngineConfig
from intarsia.engine.search import open_retrieve, product_vectors
from intarsia.evaluation.known_items import is_synthetic
from intarsia.evaluation.qrels import qrels_by_query
from intarsia.experiments.fusion_search_result import (
    CUTOFF,
    TRIALS_FILE,
    FusionSearch,
    Tried,
    alone,
    beside_chosen,
    best_different,
    best_of_kind,
    by_kind,
    lean,
    plain_fusions,
    said,
    spec_of,
    table,
)
from intarsia.experiments.fusion_training_data import EncodedQueries
from intarsia.experiments.judged_candidates import UNRELEASED, check_judged, judged_candidates, read_judged, row_numbers
from intarsia.experiments.packed_candidates import PackedCandidates
from intarsia.experiments.text_only_fusion import WordsJudged, choose_text_only, save_text_only
from intarsia.experiments.trial_objective import TrialLessons, ndcg_of
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
from pipelines.job import Counts, Job, JobProgress, main
from tune_spaces.fusion_search import FusionSearchPlan, search_fusions
from tune_spaces.fusion_space import FusionSpaceConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFusionConfig:
    """How candidates are found, which fusions are tried, and how long."""

    engine: EngineConfig = setting("how deep to look; goes into the release with the fusion", factory=EngineConfig)
    space: FusionSpaceConfig = setting("which fusions are tried", factory=FusionSpaceConfig)
    num_trials: int = setting("points of kinds without fitted parts that are measured on the train queries", 60)
    num_fitted_trials: int = setting(
        "points of fitted kinds, each fitted num_folds times; every kind's defaults are tried however few", 1
    )
    num_at_once: int = setting("trials beside each other; changes which points are tried", 2)
    num_finalists: int = setting("best points on train that are measured on validation", 5)
    trials: TrialsConfig = setting("resources of a trial, and when hopeless ones are stopped", factory=TrialsConfig)
    num_folds: int = setting("folds of the train queries for kinds that are fitted", 3)
    num_by_kind: int = setting("finalists that are also tried with weights by kind of query", 2)
    simplex_steps: int = setting("weights by kind come from a grid with steps of 1 / this", 10)
    min_queries_by_kind: int = setting("train queries of a kind from which it gets weights of its own", 30)
    synthetic_may_be_dropped: float = setting(
        "where nobody judged any query: by what share of what it lacks to 1 the nDCG@10 of made queries may be worse for weights nearer to "
        "equal; made of title words, they flatter bm25",
        0.1,
    )
    seed: int = setting("of the search and of the intervals", 13)

    def __post_init__(self) -> None:
        for name in ("num_trials", "num_at_once", "num_finalists", "simplex_steps", "min_queries_by_kind"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if self.num_folds < 2:
            raise ValueError(f"num_folds is {self.num_folds}; allowed: 2 or more")
        for name in ("num_fitted_trials", "num_by_kind", "synthetic_may_be_dropped"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """The queries of one split, packed; as lessons where fitted kinds need them, by words alone where there are pictures."""

    task: PackedCandidates
    training_data: FusionTrainingData | None
    words: WordsJudged | None


def run(config: SearchFusionConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Judged queries and their candidates -> fusion_spec, with the table of everything tried; with pictures, also the fusion of words."""
    splits: tuple[Split, ...] = ("train", "validation")
    train, validation = (read_judged_split(lake, config, split, progress) for split in splits)
    only_made = all(is_synthetic(query.query_id) for query in read_judged(lake, splits)[0])
    inputs = {name: lake.current(name).digest for name in (*JOB.reads, *JOB.optional_reads) if lake.has(name)}
    found = search_fusion(
        train.task,
        validation.task,
        config,
        folder=lake.root,
        progress=progress,
        only_made=only_made,
        training_data=(train.training_data, validation.training_data),
        identity=short(sha256_json({"config": fingerprint(config), **inputs})),
    )
    assert found.chosen.spec is not None
    assert found.chosen.validation is not None
    with lake.publish("fusion_spec", {"kind": found.chosen.spec.kind}) as folder:
        fit_to_serve(found.chosen.spec, train.training_data, validation.training_data, config).save(folder)
        config.engine.save(folder)
        write_json(folder / TRIALS_FILE, to_jsonable(found))
        lines = table(found)
        if train.words is not None and validation.words is not None:
            spec = choose_text_only(
                train.words,
                validation.words,
                WeightedConfig(normalisers=config.space.normalisers, depth=config.engine.depth),
                synthetic_may_be_dropped=config.synthetic_may_be_dropped if only_made else None,
                seed=config.seed,
            )
            save_text_only(spec, folder)
            lines.append(f"by words alone: {said(spec)}")
    print("\n".join(lines))
    return {
        "trials": len(found.trials),
        "failed": sum(one.error is not None for one in found.trials),
        "stopped": sum(one.stopped for one in found.trials),
        "kind": found.chosen.spec.kind,
        "validation_ndcg@10": found.chosen.validation.mean,
    }


def read_judged_split(lake: Lake, config: SearchFusionConfig, split: Split, progress: JobProgress) -> _Judged:
    """The judged queries of one split, with their candidates."""
    report = partial(_of_split, progress, split)
    found = judged_candidates(lake, config.engine, [split], report)
    _, judgments = read_judged(lake, [split])
    retrieve = open_retrieve(lake.current("indexes").path, config=config.engine, release_id=UNRELEASED)
    query_ids = [each.judged.query_id for each in found]
    qrels = qrels_by_query(judgments, query_ids, row_numbers(retrieve))
    candidates = [each.candidates for each in found]
    asked = EncodedQueries(query_ids=tuple(map(str, query_ids)), encoded=[each.encoded for each in found], qrels=qrels)
    training_data = asked.training_data(candidates, product_vectors(retrieve.vectors)) if config.space.fitted else None
    words = WordsJudged.of(asked, candidates, qrels) if retrieve.columns.num_images.any() else None
    return _Judged(task=PackedCandidates.of(candidates, qrels), training_data=training_data, words=words)


def search_fusion(
    train: PackedCandidates,
    validation: PackedCandidates,
    config: SearchFusionConfig,
    *,
    folder: Path,
    progress: JobProgress,
    only_made: bool = False,
    training_data: tuple[FusionTrainingData | None, FusionTrainingData | None] = (None, None),
    identity: str = "",
) -> FusionSearch:
    """Tune on train, give the best also weights by kind of query, choose on validation; equal inputs give equal results.

    Among fusions without fitted parts the choice is made on the validation queries, so their intervals flatter it a little: the honest ones
    are those of the test split. A fitted kind has seen the validation queries (they stop its fit, and weigh its column); it takes over when
    it is better on the train queries, each measured by a fit that did not see it, than the best of the others is there.
    Queries that are `only_made` have no say by kind nor in fitted kinds, and of what they choose the weights lean towards equal.

    Args:
        train: the train queries.
        validation: the others; the two have no query in common.
        config: what is tried.
        folder: where the search keeps its notes while it runs.
        progress: told of every trial.
        only_made: nobody judged any query.
        lessons: the same queries as lessons, train and validation; for kinds that are fitted.
        identity: names all that decides the result; a search that was stopped goes on under it.

    Raises:
        DataError: no product is relevant to any query of one of the splits.
        ConfigError: every trial failed.
    """
    check_judged(train.judged_QJ, "train")
    check_judged(validation.judged_QJ, "validation")
    measured_on = TrialLessons(task=train, train=training_data[0], validation=training_data[1])
    space = space_of(config, only_made=only_made)
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
    trials = search_fusions(plan, measured_on, folder=folder, progress=progress, identity=identity)
    best = best_different(trials, config.num_finalists)
    num_by_kind = 0 if only_made else config.num_by_kind
    steps, least = config.simplex_steps, config.min_queries_by_kind
    refined = [
        found for one in best[:num_by_kind] if (found := by_kind(one, train, num_steps=steps, min_queries=least))
    ]
    fitted = [one for kind in space.fitted if (one := best_of_kind(trials, kind))]
    plain_tried = [
        Tried(name=name, spec=spec, train=mean_known(train.ndcg(spec, CUTOFF)))
        for name, spec in plain_fusions(config.engine.depth).items()
    ]
    finalists = [(one, validation.ndcg(spec_of(one), CUTOFF)) for one in (*plain_tried, *best, *refined)]
    chosen, chosen_Q = max(
        finalists, key=lambda each: mean_known(each[1])
    )  # of equals the first, which is the simplest
    for one in fitted:
        finalists.append((one, _fitted_values(one, measured_on, config)))
        if (one.train or 0.0) > (chosen.train or 0.0):
            chosen, chosen_Q = finalists[-1]
    if only_made:
        leaning = lean(chosen, [train, validation], may_lose=config.synthetic_may_be_dropped)
        finalists.append((leaning, validation.ndcg(spec_of(leaning), CUTOFF)))
        chosen, chosen_Q = finalists[-1]
    judged = beside_chosen([*alone(train, validation), *finalists], chosen_Q, config.seed)
    num_baselines = len(judged) - len(finalists) + len(plain_tried)
    return FusionSearch(
        chosen=next(one for one in judged if one.name == chosen.name),
        baselines=tuple(judged[:num_baselines]),
        finalists=tuple(judged[num_baselines:]),
        trials=tuple(trials),
    )


def _fitted_values(one: Tried, training_data: TrialLessons, config: SearchFusionConfig) -> Floats:
    assert one.spec is not None and training_data.train is not None and training_data.validation is not None
    fuser = fit_fuser(one.spec, training_data.train, training_data.validation, config.seed)
    return ndcg_of(fuser, training_data.validation, CUTOFF)


def fit_to_serve(
    spec: MethodConfig,
    train: FusionTrainingData | None,
    validation: FusionTrainingData | None,
    config: SearchFusionConfig,
) -> CrossFitFuser:
    """The chosen fusion; of a fitted kind also the ones that did not see each fold, for who learns from the fused train queries."""
    if isinstance(spec, FusionSpec):
        return CrossFitFuser(full=SpecFuser(spec))
    assert train is not None and validation is not None
    return cross_fit(spec, train, validation, num_folds=config.num_folds, seed=config.seed)


def space_of(config: SearchFusionConfig, *, only_made: bool) -> FusionSpaceConfig:
    """What is searched: nothing that is fitted where all queries were made; re-ranking has one depth, which drops nothing."""
    space = config.space
    if config.engine.judged_only:
        space = replace(space, depths=(config.engine.depth,))
    if only_made:
        kinds = tuple(kind for kind in space.kinds if kind not in space.fitted) or ("equal",)
        space = replace(space, kinds=kinds, settings={})
    return space


def _of_split(progress: JobProgress, split: Split, step: str, done: int, total: int) -> None:
    progress(f"{split} {step}", done, total)


JOB = Job(
    name="search_fusion",
    summary="find the fusion kind, normaliser and weights on judged queries (Ray Tune + Optuna)",
    config=SearchFusionConfig,
    reads=("indexes", "query_encoders", "queries", "judgments"),
    optional_reads=("fold_indexes",),
    writes=("fusion_spec",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
