"""The ranker: LambdaMART over the training rows, fitted by several workers as one model, stopped on the validation queries."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from intarsia.config import fingerprint, setting, to_jsonable
from intarsia.evaluation.known_items import is_synthetic
from intarsia.ids import QueryId, sha256_json, short
from intarsia.lake import Lake
from intarsia.onray.ranker_training import DistributedFit, WorkersConfig, fit_on_workers
from intarsia.onray.tuning import Figures, Point, PointSearch, Trial, TrialsConfig, run_search
from intarsia.ranking.lambdamart import LambdaMartConfig, fit_lambdamart
from intarsia.ranking.lightgbm_ranker import save_ranker
from intarsia.ranking.rows import RankingRows, read_rows
from intarsia.tables.training_rows import training_rows_spec
from pipelines.build_training_rows import FEATURES_FILE
from pipelines.job import Counts, Job, JobProgress, main
from tune_spaces.ranker_space import RankerSpaceConfig, ranker_of_point, ranker_space


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRankerConfig:
    """How the ranker is fitted, and by how many workers."""

    model: LambdaMartConfig = setting("settings of the fit", factory=LambdaMartConfig)
    workers: WorkersConfig = setting("the workers that share the train queries", factory=WorkersConfig)
    made_prior_weight: float = setting(
        "model.prior_weight where nobody judged any query, when it is larger, and no linear_weight and pointwise_share there: made queries "
        "teach little beyond the fused order",
        2.0,
    )
    space: RankerSpaceConfig = setting("which settings are tried beside `model`", factory=RankerSpaceConfig)
    trials: int = setting(
        "points of the space that Ray Tune measures; the best of them is fitted beside `model`, and the better one kept. 0 tries none",
        0,
    )
    num_at_once: int = setting("trials beside each other; changes which points are tried", 2)
    resources: TrialsConfig = setting("what a trial may use", factory=TrialsConfig)

    def __post_init__(self) -> None:
        for name in ("trials", "made_prior_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 or more")
        if self.num_at_once < 1:
            raise ValueError(f"num_at_once is {self.num_at_once}; allowed: 1 or more")

    def model_for(self, query_ids: Iterable[QueryId]) -> LambdaMartConfig:
        """The settings of the fit to some queries."""
        if not all(map(is_synthetic, query_ids)):
            return self.model
        return replace(
            self.model,
            prior_weight=max(self.model.prior_weight, self.made_prior_weight),
            linear_weight=0.0,
            pointwise_share=0.0,
        )


def run(config: TrainRankerConfig, lake: Lake, progress: JobProgress) -> Counts:
    """training_rows -> ranker."""
    entry = lake.current("training_rows")
    features = json.loads((entry.path / FEATURES_FILE).read_text(encoding="utf-8"))
    names = tuple(features["names"])
    table = training_rows_spec(names).read(entry)
    train, validation = (read_rows(table, split, names).informative_queries() for split in ("train", "validation"))
    base = config.model_for(table["query_id"].unique().to_pylist())
    tried = _search(base, train, validation, config, lake, progress) if config.trials else []
    settings = [base, *(ranker_of_point(one.point, base) for one in _best(tried))]
    progress("fits", 0, len(settings))
    fits = fit_on_workers(train, validation, settings, config.workers, lake.root)
    progress("fits", len(fits), len(settings))
    best = max(range(len(fits)), key=lambda number: (fits[number].fit.validation_ndcg, -number))
    with lake.publish("ranker", {"feature_fingerprint": features["fingerprint"]}) as folder:
        ranker = save_ranker(
            folder,
            fits[best].fit.model_text,
            names,
            features["fingerprint"],
            _facts(settings[best], fits[best], train.num_queries, validation.num_queries)
            | {
                "trials": [_trial(one, fit) for one, fit in zip(settings, fits, strict=True)],
                "searched": [to_jsonable(one) for one in tried],
            },
            prior_weight=fits[best].fit.prior_weight,
            linear=fits[best].fit.linear,
        )
    return {
        "train_lists": train.num_queries,  # a query that was asked twice has two
        "validation_lists": validation.num_queries,
        "rows": len(train.labels_n),
        "workers": config.workers.num_workers,
        "trees": fits[best].fit.best_iteration + fits[best].fit.pointwise_trees,
        "validation_ndcg@10": fits[best].fit.validation_ndcg,
        "first_features": " ".join(list(ranker.importances())[:5]),
    }


def measure_point(point: Point, data: tuple[LambdaMartConfig, RankingRows, RankingRows]) -> Figures:
    """What one trial does: a fit alone, on one thread, and the validation nDCG@10 of all its trees."""
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
        measure=measure_point,
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
    identity = short(sha256_json({"config": fingerprint(config), "rows": lake.current("training_rows").digest}))
    on_trial = partial(progress, "trials")
    return run_search(search, folder=lake.root, on_trial=on_trial, identity=identity, job=JOB.name)


def _best(tried: Sequence[Trial]) -> list[Trial]:
    """The best trial, if there is any."""
    measured = [one for one in tried if one.figures]
    return sorted(measured, key=lambda one: one.figures["ndcg"] if one.figures else 0.0)[-1:]


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


def _trial(model: LambdaMartConfig, fit: DistributedFit) -> dict[str, object]:
    return {
        "model": to_jsonable(model),
        "best_iteration": fit.fit.best_iteration,
        "pointwise_trees": fit.fit.pointwise_trees,
        "validation_ndcg_at_10": fit.fit.validation_ndcg,
    }


JOB = Job(
    name="train_ranker",
    summary="Fit the LambdaMART ranker through Ray Train and stop it on the validation queries.",
    config=TrainRankerConfig,
    reads=("training_rows",),
    writes=("ranker",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
