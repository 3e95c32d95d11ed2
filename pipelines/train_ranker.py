"""training_rows -> ranker: LambdaMART, fitted on several workers, with early stopping on the validation queries."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from intarsia.config import setting, to_jsonable
from intarsia.evaluation.known_items import is_synthetic
from intarsia.ids import QueryId, sha256_json, short
from intarsia.lake import Lake
from intarsia.onray.ranker_training import DistributedFit, RankerWorkersConfig, fit_on_workers
from intarsia.onray.tuning import Figures, Point, PointSearch, Trial, TrialsConfig, run_search
from intarsia.ranking.lambdamart import LambdaMartConfig, fit_lambdamart
from intarsia.ranking.lightgbm_ranker import save_ranker
from intarsia.ranking.rows import RankingRows, read_rows
from intarsia.tables.training_rows import training_rows_spec
from pipelines.build_training_rows import FEATURES_FILE
from pipelines.job import Counts, Job, JobProgress, cache_key, main
from tune_spaces.ranker_space import RankerSpaceConfig, ranker_of_point, ranker_space


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRankerConfig:
    """Settings of the ranker's fit, its workers and its hyper-parameter search."""

    model: LambdaMartConfig = setting("settings of the fit", factory=LambdaMartConfig)
    workers: RankerWorkersConfig = setting("workers that share the train queries", factory=RankerWorkersConfig)
    synthetic_prior_weight: float = setting(
        "lower bound of model.prior_weight if no query is judged; linear_weight and pointwise_share are then 0. "
        "Synthetic queries contain little information beyond the fused order",
        2.0,
        advanced=True,
    )
    space: RankerSpaceConfig = setting(
        "settings that the search tries in place of those of `model`", factory=RankerSpaceConfig, advanced=True
    )
    trials: int = setting(
        "points of `space` that Ray Tune measures; the best is fitted in addition to `model`, and the better fit kept. "
        "0: no search",
        0,
    )
    num_at_once: int = setting("number of concurrent trials; changes which points are tried", 2, advanced=True)
    resources: TrialsConfig = setting("resources of a trial", factory=TrialsConfig, advanced=True)

    def __post_init__(self) -> None:
        for name in ("trials", "synthetic_prior_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 or more")
        if self.num_at_once < 1:
            raise ValueError(f"num_at_once is {self.num_at_once}; allowed: 1 or more")

    def model_for(self, query_ids: Iterable[QueryId]) -> LambdaMartConfig:
        """Settings for a fit to these queries: `model`, changed if all of them are synthetic."""
        if not all(map(is_synthetic, query_ids)):
            return self.model
        return replace(
            self.model,
            prior_weight=max(self.model.prior_weight, self.synthetic_prior_weight),
            linear_weight=0.0,
            pointwise_share=0.0,
        )


def run(config: TrainRankerConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Search settings if configured, fit the ranker, and publish the better fit."""
    entry = lake.current("training_rows")
    features = json.loads((entry.path / FEATURES_FILE).read_text(encoding="utf-8"))
    names = tuple(features["names"])
    table = training_rows_spec(names).read(entry)
    train, validation = (read_rows(table, split, names).informative_queries() for split in ("train", "validation"))
    base = config.model_for(table["query_id"].unique().to_pylist())
    trials = _search(base, train, validation, config, lake, progress) if config.trials else []
    settings = [base, *(ranker_of_point(trial.point, base) for trial in _best(trials))]
    progress("fits", 0, len(settings))
    fits = fit_on_workers(train, validation, settings, config.workers, lake.root)
    progress("fits", len(fits), len(settings))
    best = max(range(len(fits)), key=lambda number: (fits[number].fit.validation_ndcg, -number))
    with lake.publish("ranker", {"feature_fingerprint": features["fingerprint"]}) as folder:
        ranker = save_ranker(
            folder,
            fits[best].fit.model,
            names,
            features["fingerprint"],
            _facts(settings[best], fits[best], train.num_queries, validation.num_queries)
            | {
                "trials": [_fit_summary(model, fit) for model, fit in zip(settings, fits, strict=True)],
                "searched": [to_jsonable(trial) for trial in trials],
            },
        )
    return {
        "train_lists": train.num_queries,  # a query that occurs twice has two lists
        "validation_lists": validation.num_queries,
        "rows": len(train.labels_n),
        "workers": config.workers.num_workers,
        "trees": fits[best].fit.best_iteration + fits[best].fit.pointwise_trees,
        "validation_ndcg@10": fits[best].fit.validation_ndcg,
        "first_features": " ".join(list(ranker.importances())[:5]),
    }


def measure_ranker_point(point: Point, data: tuple[LambdaMartConfig, RankingRows, RankingRows]) -> Figures:
    """One trial: fit on one thread, and measure nDCG@10 of the validation queries."""
    base, train, validation = data
    fit = fit_lambdamart(train, validation, [ranker_of_point(point, base)])[0]
    return {"ndcg": fit.validation_ndcg, "trees": fit.best_iteration + fit.pointwise_trees}


def _search(
    base: LambdaMartConfig,
    train: RankingRows,
    validation: RankingRows,
    config: TrainRankerConfig,
    lake: Lake,
    progress: JobProgress,
) -> list[Trial]:
    search = PointSearch(
        measure=measure_ranker_point,
        data=(base, train, validation),
        space=ranker_space(config.space),
        maximise="ndcg",
        worst=0.0,
        first_points=[],
        num_trials=config.trials,
        num_at_once=config.num_at_once,
        seed=base.seed,
        trials=config.resources,
    )
    identity = short(sha256_json(cache_key(JOB, config, lake)))
    on_trial = partial(progress, "trials")
    return run_search(search, folder=lake.root, on_trial=on_trial, identity=identity, job=JOB.name)


def _best(trials: Sequence[Trial]) -> list[Trial]:
    """The best trial, or none if all failed."""
    measured = [trial for trial in trials if trial.figures]
    return sorted(measured, key=lambda trial: trial.figures["ndcg"] if trial.figures else 0.0)[-1:]


def _facts(model: LambdaMartConfig, fit: DistributedFit, num_train: int, num_validation: int) -> dict[str, object]:
    return {
        "model": to_jsonable(model),
        "num_train_lists": num_train,
        "num_validation_lists": num_validation,
        "best_iteration": fit.fit.best_iteration,
        "pointwise_trees": fit.fit.pointwise_trees,
        "validation_ndcg_at_10": fit.fit.validation_ndcg,
        "learning_curve": list(fit.fit.curve),
        "trees_sha256_by_rank": list(fit.trees_sha256_by_rank),
    }


def _fit_summary(model: LambdaMartConfig, fit: DistributedFit) -> dict[str, object]:
    return {
        "model": to_jsonable(model),
        "best_iteration": fit.fit.best_iteration,
        "pointwise_trees": fit.fit.pointwise_trees,
        "validation_ndcg_at_10": fit.fit.validation_ndcg,
    }


JOB = Job(
    name="train_ranker",
    summary="feature rows -> a LambdaMART ranker, fitted with Ray Train and stopped early on the validation queries",
    config=TrainRankerConfig,
    reads=("training_rows",),
    writes=("ranker",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
