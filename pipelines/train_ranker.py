"""The ranker: LambdaMART over the training rows, fitted by several workers as one model, stopped on the validation queries."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace

from intarsia.config import plain, setting
from intarsia.evaluation.known_items import is_made
from intarsia.ids import QueryId
from intarsia.lake import Lake
from intarsia.onray.training import DistributedFit, WorkersConfig, fit_on_workers
from intarsia.ranking.lambdamart import LambdaMartConfig, variants
from intarsia.ranking.lightgbm_ranker import save_ranker
from intarsia.ranking.rows import read_rows
from intarsia.tables.training_rows import training_rows_spec
from pipelines.build_training_rows import FEATURES_FILE
from pipelines.job import Counts, Job, Progress, main


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRankerConfig:
    """How the ranker is fitted, and by how many workers."""

    model: LambdaMartConfig = setting("settings of the fit", factory=LambdaMartConfig)
    workers: WorkersConfig = setting("the workers that share the train queries", factory=WorkersConfig)
    made_prior_weight: float = setting(
        "model.prior_weight where nobody judged any query, when it is larger: made queries teach little beyond the fused order",
        2.0,
    )
    trials: int = setting("other settings around these to try; the best on validation is kept. 0 tries none", 0)

    def __post_init__(self) -> None:
        for name in ("trials", "made_prior_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 or more")

    def model_for(self, query_ids: Iterable[QueryId]) -> LambdaMartConfig:
        """The settings of the fit to some queries."""
        if not all(map(is_made, query_ids)):
            return self.model
        return replace(self.model, prior_weight=max(self.model.prior_weight, self.made_prior_weight))


def run(config: TrainRankerConfig, lake: Lake, progress: Progress) -> Counts:
    """training_rows -> ranker."""
    entry = lake.current("training_rows")
    features = json.loads((entry.path / FEATURES_FILE).read_text(encoding="utf-8"))
    names = tuple(features["names"])
    table = training_rows_spec(names).read(entry)
    train, validation = (read_rows(table, split, names).that_teach() for split in ("train", "validation"))
    settings = variants(config.model_for(table["query_id"].unique().to_pylist()), config.trials)
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
            | {"trials": [_trial(one, fit) for one, fit in zip(settings, fits, strict=True)]},
            prior_weight=settings[best].prior_weight,
        )
    return {
        "train_queries": train.num_queries,
        "validation_queries": validation.num_queries,
        "rows": len(train.labels_n),
        "workers": config.workers.num_workers,
        "trees": fits[best].fit.best_iteration,
        "validation_ndcg@10": fits[best].fit.validation_ndcg,
        "first_features": " ".join(list(ranker.importances())[:5]),
    }


def _facts(model: LambdaMartConfig, fit: DistributedFit, num_train: int, num_validation: int) -> dict[str, object]:
    return {
        "model": plain(model),
        "num_train_queries": num_train,
        "num_validation_queries": num_validation,
        "best_iteration": fit.fit.best_iteration,
        "validation_ndcg_at_10": fit.fit.validation_ndcg,
        "learning_curve": list(fit.fit.curve),
        "trees_sha256_by_rank": list(fit.trees_sha256_by_rank),
    }


def _trial(model: LambdaMartConfig, fit: DistributedFit) -> dict[str, object]:
    return {
        "model": plain(model),
        "best_iteration": fit.fit.best_iteration,
        "validation_ndcg_at_10": fit.fit.validation_ndcg,
    }


JOB = Job(
    name="train_ranker",
    about="Fit the LambdaMART ranker through Ray Train and stop it on the validation queries.",
    config=TrainRankerConfig,
    reads=("training_rows",),
    writes=("ranker",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
