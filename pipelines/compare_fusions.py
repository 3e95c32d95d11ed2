"""Compare every fusion method on the same judged queries, and again with a growing share of images missing.

Methods are fitted on train, and one is chosen there by out-of-fold values; the test split is measured once. Validation
queries stop fits and weigh columns, so validation values of fitted methods are optimistic. This job reports only:
`search_fusion` finds the fusion that serves.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from intarsia.config import check_range, nearest_of, setting
from intarsia.engine.config import EngineConfig
from intarsia.engine.encode import ALIGNED
from intarsia.engine.retrieve import RetrieveStage
from intarsia.engine.search import open_retrieve, product_vectors
from intarsia.errors import DataError
from intarsia.evaluation.method_comparison import ComparisonConfig
from intarsia.evaluation.method_comparison_report import (
    REPORT_NAME,
    ComparisonSetting,
    comparison_lines,
    write_comparison_report,
)
from intarsia.evaluation.qrels import judged_grades, qrels_by_query
from intarsia.experiments.fusion_benchmark import METRIC, BenchmarkData, MissingImagesPlan, run_benchmark
from intarsia.experiments.fusion_methods import ParallelFit, fit_sequentially, fusion_methods
from intarsia.experiments.fusion_training_data import EncodedQueries
from intarsia.experiments.judged_candidates import (
    UNRELEASED,
    check_judged,
    judged_candidates,
    open_judged_encoders,
    read_judged,
    retrieve_judged,
    row_numbers,
)
from intarsia.experiments.missing_images import shuffle_images
from intarsia.fusion.feature.imputation import (
    CoPurchaseImputer,
    Imputer,
    NeighbourImputer,
    co_purchase_pairs,
    impute_mean,
)
from intarsia.ids import QueryId
from intarsia.lake import Lake
from intarsia.names import RETRIEVERS
from intarsia.onray.workers import RayWorkers
from intarsia.records.candidates import Candidates
from intarsia.records.judgment import SPLITS, Split
from intarsia.tables.events import EVENTS
from pipelines.job import Counts, Job, JobProgress, command_line, main

COMPARISON_ENTRY = "fusion_comparison"

ImputerName = Literal["nothing", "mean", "neighbours", "bought together", "generated"]

_BASKET_KINDS = ("add_to_cart", "purchase")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareFusionsConfig:
    """Which fusions are compared, and with which images missing."""

    data_set: str = setting("name of the data in the report", "catalog", advanced=True)
    engine: EngineConfig = setting("retrieval depths, as in search_fusion", factory=EngineConfig)
    kinds: tuple[str, ...] = setting("fusion methods to compare with the baselines; empty: all", ())
    settings: Mapping[str, Mapping[str, Any]] = setting(
        "settings by method; defaults where a method is not named", factory=dict, advanced=True
    )
    images: Literal["as_they_are", "mixed_up"] = setting(
        "mixed_up: every image belongs to another product, so that images carry no information",
        "as_they_are",
        advanced=True,
    )
    missing: tuple[float, ...] = setting(
        "shares of the images to remove, by a hash of the product; empty: no curves",
        (0.0, 0.1, 0.25, 0.5, 0.75, 0.9),
    )
    imputers: tuple[ImputerName, ...] = setting(
        "what replaces missing image vectors; `bought together` needs the table events, `generated` the method "
        "adversarial (it is skipped otherwise)",
        ("nothing", "mean", "neighbours", "generated"),
        advanced=True,
    )
    curves_of: tuple[str, ...] = setting(
        "methods that are measured with missing images, in addition to the chosen one; empty: all", (), advanced=True
    )
    neighbours: int = setting("number of products that imputer neighbours averages", 10, advanced=True)
    num_folds: int = setting(
        "folds of the train queries; every fitted method is fitted this many times more", 3, advanced=True
    )
    num_workers: int = setting(
        "processes that fit methods in parallel, one CPU each; 0: one per CPU of the cluster; 1: this process only",
        0,
        advanced=True,
    )
    comparison: ComparisonConfig = setting("intervals and tests", factory=ComparisonConfig)
    notes: tuple[str, ...] = setting("sentences for the report", (), advanced=True)
    seed: int = setting("seed of every fit, and of the missing images", 13, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "neighbours", low=1)
        check_range(self, "num_workers", low=0)
        check_range(self, "num_folds", low=2)
        for share in self.missing:
            if not 0 <= share <= 1:
                raise ValueError(f"missing has {share}; allowed: 0 to 1")
        if self.missing and not self.imputers:
            raise ValueError("imputers is empty; allowed: at least one, for example nothing")
        methods = fusion_methods(RETRIEVERS, self.kinds, self.settings)  # refuses unknown methods and settings
        names = [method.name for method in methods]
        for name in self.curves_of:
            if name not in names:
                raise ValueError(f"curves_of has {name!r}, which is not compared{nearest_of(name, names)}")
        if self.missing and set(self.imputers) == {"generated"} and "adversarial" not in names:
            raise ValueError(
                "imputers has only generated, which needs adversarial among kinds; allowed: a second imputer, or that "
                "kind"
            )


def run(config: CompareFusionsConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Judged queries, indexes -> fusion_comparison: the report as Markdown, HTML and JSON."""
    shuffle_seed = config.seed if config.images == "mixed_up" else None
    data = read_benchmark_data(lake, config.engine, progress, shuffle_seed=shuffle_seed)
    comparison = run_benchmark(
        fusion_methods(data.retrieve.retrievers, config.kinds, config.settings),
        data,
        missing=MissingImagesPlan(
            shares=config.missing,
            imputers=dict(named_imputers(config, lake, data.retrieve)),
            seed=config.seed,
            generated="generated" in config.imputers,
            methods=config.curves_of,
        ),
        config=config.comparison,
        num_folds=config.num_folds,
        seed=config.seed,
        report=progress,
        fit_methods=fit_sequentially
        if config.num_workers == 1
        else ParallelFit(run_tasks=RayWorkers(num_workers=config.num_workers), folder=lake.root / COMPARISON_ENTRY),
    )
    comparison_setting = ComparisonSetting(
        data_set=config.data_set,
        num_products=data.retrieve.columns.num_rows,
        num_train=len(data.queries["train"].query_ids),
        num_validation=len(data.queries["validation"].query_ids),
        command=command_line(),
        notes=config.notes,
    )
    with lake.publish(COMPARISON_ENTRY, {"chosen": comparison.chosen}) as folder:
        query_ids = [QueryId(name) for name in data.queries["test"].query_ids]
        write_comparison_report(comparison, comparison_setting, query_ids, folder)
    print("\n".join(comparison_lines(comparison)))
    print(f"report: {lake.current(COMPARISON_ENTRY).path / f'{REPORT_NAME}.html'}")
    test = comparison.row(comparison.chosen).test
    return {
        "methods": len(comparison.rows),
        "failed": sum(row.test is None for row in comparison.rows),
        "chosen": comparison.chosen,
        f"test_{METRIC}": test.mean if test else None,
        "never_below_text_only": not comparison.below_text_only if comparison.curve else None,
    }


def read_benchmark_data(
    lake: Lake, engine: EngineConfig, progress: JobProgress, *, shuffle_seed: int | None = None
) -> BenchmarkData:
    """The judged queries of all splits against the lake's current indexes.

    A `shuffle_seed` shuffles the images. Train queries are then retrieved by the tower that serves, even if there are
    `fold_indexes`; with a fine-tuned tower their text cosines are optimistic.

    Raises:
        DataError: a split has no query, or no query with a relevant product.
    """
    encoders = open_judged_encoders(lake)
    retrieve = open_retrieve(lake.current("indexes").path, config=engine, release_id=UNRELEASED)
    if shuffle_seed is not None:
        retrieve = shuffle_images(retrieve, shuffle_seed)
    rows = row_numbers(retrieve)
    queries: dict[Split, EncodedQueries] = {}
    candidates: dict[Split, Sequence[Candidates]] = {}
    for number, split in enumerate(SPLITS):
        judged_queries, judgments = read_judged(lake, [split])
        if not judged_queries:
            raise DataError(
                table="queries",
                field="split",
                found=f"no query of split {split}",
                allowed="at least one of each split",
                fix="judge queries of that split: the comparison fits and chooses on train, stops fits on validation, "
                "and tests on test",
            )
        qrels = qrels_by_query(judgments, [query.query_id for query in judged_queries], rows)
        check_judged(judged_grades(qrels), split)
        if split == "train" and shuffle_seed is None:
            judged = judged_candidates(lake, engine, [split], progress)  # out of fold, as in search_fusion
        else:
            judged = retrieve_judged(encoders, retrieve, judged_queries, judgments, progress)
        queries[split] = EncodedQueries.of(judged, qrels)
        candidates[split] = [query.candidates for query in judged]
        progress("splits", number + 1, len(SPLITS))
    return BenchmarkData(
        retrieve=retrieve,
        products=product_vectors(retrieve.vectors),
        queries=queries,
        candidates=candidates,
        image_transforms={} if encoders.aligned is None else {ALIGNED: encoders.aligned.images},
    )


def named_imputers(
    config: CompareFusionsConfig, lake: Lake, retrieve: RetrieveStage
) -> Iterator[tuple[str, Imputer | None]]:
    """The imputers of the config by name, except `generated`, which is fitted with the methods.

    Raises:
        DataError: `bought together` without a table of events.
    """
    for name in config.imputers:
        if name == "nothing":
            yield name, None
        elif name == "mean":
            yield name, impute_mean
        elif name == "neighbours":
            yield name, NeighbourImputer(num_neighbours=config.neighbours)
        elif name == "bought together":
            yield name, _bought_together(lake, retrieve)


def _bought_together(lake: Lake, retrieve: RetrieveStage) -> Imputer:
    if not lake.has("events"):
        raise DataError(
            table="events",
            field="kind",
            found="no such table",
            allowed="add_to_cart and purchase events, for imputer `bought together`",
            fix="ingest events, or take `bought together` out of compare_fusions.imputers",
        )
    rows = row_numbers(retrieve)
    baskets: dict[str, set[int]] = {}
    table = EVENTS.read(lake.current("events"), ["kind", "product_id", "session_id", "user_id"])
    for event in table.to_pylist():
        if event["kind"] in _BASKET_KINDS and (row := rows.get(event["product_id"])) is not None:
            baskets.setdefault(event["session_id"] or event["user_id"] or "", set()).add(row)
    baskets.pop("", None)
    pairs_P2, counts_P = co_purchase_pairs(baskets.values())
    return CoPurchaseImputer(pairs_P2=pairs_P2, counts_P=counts_P)


JOB = Job(
    name="compare_fusions",
    summary="every fusion method on the same judged queries, with p values, and with images missing",
    config=CompareFusionsConfig,
    reads=("indexes", "query_encoders", "queries", "judgments"),
    optional_reads=("events", "fold_indexes"),
    writes=(COMPARISON_ENTRY,),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
