"""The fusion arena: every kind of fusion on the same judged queries, and every one again with more and more pictures missing.

Kinds are fitted on train, one is chosen there, every query fused by a fit that did not see it, and the test split is asked once; the
validation queries would flatter what they stop and whose columns they weigh. It shows and decides nothing that serves: what
serves is found by `search_fusion`, which tries the kinds that won here.
"""

from __future__ import annotations

import shlex
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
from intarsia.evaluation.method_comparison import ArenaConfig
from intarsia.evaluation.method_comparison_report import ArenaSetting, lines_of, write_arena
from intarsia.evaluation.qrels import judged_grades, qrels_by_query
from intarsia.experiments.fusion_benchmark import METRIC, BenchmarkData, Missing, hold
from intarsia.experiments.fusion_methods import methods
from intarsia.experiments.fusion_training_data import EncodedQueries
from intarsia.experiments.judged_candidates import (
    UNRELEASED,
    as_query,
    catalog_time,
    check_judged,
    judged_candidates,
    open_judged_encoders,
    read_judged,
    row_numbers,
)
from intarsia.experiments.missing_images import mix_images
from intarsia.experiments.parallel_fit import FitBeside, fit_in_turn
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
from pipelines.job import Counts, Job, JobProgress, main

ENTRY = "fusion_arena"

ImputerName = Literal["nothing", "mean", "neighbours", "bought together", "generated"]

_BASKET_KINDS = ("add_to_cart", "purchase")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareFusionsConfig:
    """Who enters, and what is taken away."""

    data_set: str = setting("name that stands over the report", "catalog")
    engine: EngineConfig = setting("how candidates are found; as in search_fusion", factory=EngineConfig)
    kinds: tuple[str, ...] = setting("kinds of fusion that enter beside the baselines; none named: all there are", ())
    settings: Mapping[str, Mapping[str, Any]] = setting(
        "of a kind, by its name, where the defaults are not meant", factory=dict
    )
    images: Literal["as_they_are", "mixed_up"] = setting(
        "mixed_up: every picture is another product's, so that a fusion is seen where pictures are noise", "as_they_are"
    )
    missing: tuple[float, ...] = setting(
        "shares of the pictures that are taken away, by a hash of the product; none: no curves",
        (0.0, 0.1, 0.25, 0.5, 0.75, 0.9),
    )
    imputers: tuple[ImputerName, ...] = setting(
        "what fills the gaps; `bought together` needs the table events, `generated` the kind adversarial (else it is left out)",
        ("nothing", "mean", "neighbours", "generated"),
    )
    curves_of: tuple[str, ...] = setting(
        "contenders that are measured with pictures missing, beside the chosen one; none named: all", ()
    )
    neighbours: int = setting("products whose pictures are averaged; for imputer neighbours", 10)
    num_folds: int = setting(
        "folds of the train queries: a fitted kind is chosen by what fits say that did not see the query, so it is fitted this often more",
        3,
    )
    num_workers: int = setting(
        "processes that fit contenders beside each other, one CPU each; 0: as many as the cluster has CPUs; 1: this process alone",
        0,
    )
    arena: ArenaConfig = setting("intervals and tests", factory=ArenaConfig)
    notes: tuple[str, ...] = setting("sentences for the report", ())
    seed: int = setting("of every fit, and of which pictures are missing", 13)

    def __post_init__(self) -> None:
        check_range(self, "neighbours", low=1)
        check_range(self, "num_workers", low=0)
        check_range(self, "num_folds", low=2)
        for share in self.missing:
            if not 0 <= share <= 1:
                raise ValueError(f"missing has {share}; allowed: 0 to 1")
        if self.missing and not self.imputers:
            raise ValueError("imputers is empty; allowed: at least one, for example nothing")
        entering = methods(
            RETRIEVERS, self.kinds, self.settings
        )  # refuses what it does not know, before anything is encoded
        names = [one.name for one in entering]
        for name in self.curves_of:
            if name not in names:
                raise ValueError(f"curves_of has {name!r}, which does not enter{nearest_of(name, names)}")
        if self.missing and set(self.imputers) == {"generated"} and "adversarial" not in names:
            raise ValueError(
                "imputers has generated alone, which needs adversarial among kinds; allowed: another one beside it"
            )


def run(config: CompareFusionsConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Judged queries, indexes -> fusion_arena: arena.md, arena.html, arena.json."""
    ring = open_ring(lake, config.engine, progress, mixed_up=config.seed if config.images == "mixed_up" else None)
    arena = hold(
        methods(ring.retrieve.retrievers, config.kinds, config.settings),
        ring,
        missing=Missing(
            shares=config.missing,
            imputers=dict(named_imputers(config, lake, ring.retrieve)),
            seed=config.seed,
            generated="generated" in config.imputers,
            methods=config.curves_of,
        ),
        config=config.arena,
        num_folds=config.num_folds,
        seed=config.seed,
        report=progress,
        fit_many=fit_in_turn
        if config.num_workers == 1
        else FitBeside(work=RayWorkers(num_workers=config.num_workers), folder=lake.root / ENTRY),
    )
    setting_ = ArenaSetting(
        data_set=config.data_set,
        num_products=ring.retrieve.columns.num_rows,
        num_train=len(ring.asked["train"].query_ids),
        num_validation=len(ring.asked["validation"].query_ids),
        command=shlex.join(["python", "-m", f"pipelines.{JOB.name}", *sys.argv[1:]]),
        notes=config.notes,
    )
    with lake.publish(ENTRY, {"chosen": arena.chosen}) as folder:
        write_arena(arena, setting_, [QueryId(name) for name in ring.asked["test"].query_ids], folder)
    print("\n".join(lines_of(arena)))
    print(f"report: {lake.current('fusion_arena').path / 'arena.html'}")
    test = arena.row(arena.chosen).test
    return {
        "methods": len(arena.rows),
        "failed": sum(row.test is None for row in arena.rows),
        "chosen": arena.chosen,
        f"test_{METRIC}": test.mean if test else None,
        "never_below_text_only": not arena.below_text_only if arena.curve else None,
    }


def open_ring(lake: Lake, engine: EngineConfig, progress: JobProgress, *, mixed_up: int | None = None) -> BenchmarkData:
    """The judged queries of all splits against the lake's current indexes; with a seed, against pictures that it mixes up.

    Mixed up, train queries are asked of the text tower of all train queries even where fold_indexes hold those that did not learn from
    them: of a fine-tuned tower the choice then believes words more than it should.

    Raises:
        DataError: a split without a query, or without one that has a relevant product.
    """
    encoders = open_judged_encoders(lake)
    retrieve = open_retrieve(lake.current("indexes").path, config=engine, release_id=UNRELEASED)
    if mixed_up is not None:
        retrieve = mix_images(retrieve, mixed_up)
    rows, asked_at = row_numbers(retrieve), catalog_time(retrieve)
    asked: dict[Split, EncodedQueries] = {}
    candidates: dict[Split, Sequence[Candidates]] = {}
    for number, split in enumerate(SPLITS):
        queries, judgments = read_judged(lake, [split])
        if not queries:
            raise DataError(
                table="queries",
                field="split",
                found=f"no query of split {split}",
                allowed="at least one of each split",
                fix="judge queries of that split: an arena fits and chooses on train, stops fits on validation and tests on test",
            )
        ids = [query.query_id for query in queries]
        qrels = qrels_by_query(judgments, ids, rows)
        check_judged(judged_grades(qrels), split)
        if split == "train" and mixed_up is None:  # by what has not learned from them, as in search_fusion
            found = judged_candidates(lake, engine, [split], progress)
            encoded = [each.encoded for each in found]
            candidates[split] = [each.candidates for each in found]
        else:
            encoded = [encoders.encode(as_query(one, asked_at), judged_in_train=split == "train") for one in queries]
        asked[split] = EncodedQueries(query_ids=tuple(str(one) for one in ids), encoded=encoded, qrels=qrels)
        if split not in candidates:
            candidates[split] = asked[split].of(retrieve)
        progress("splits", number + 1, len(SPLITS))
    return BenchmarkData(
        retrieve=retrieve,
        products=product_vectors(retrieve.vectors),
        asked=asked,
        candidates=candidates,
        into={} if encoders.aligned is None else {ALIGNED: encoders.aligned.images},
    )


def named_imputers(
    config: CompareFusionsConfig, lake: Lake, retrieve: RetrieveStage
) -> Iterator[tuple[str, Imputer | None]]:
    """What fills gaps, by name, as the config asks; the generator is only known when the contenders are fitted.

    Raises:
        DataError: companions are asked for, and nobody watched the shop.
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
    summary="the fusion arena: every kind of fusion on the same judged queries, with p values, and with pictures missing",
    config=CompareFusionsConfig,
    reads=("indexes", "query_encoders", "queries", "judgments"),
    optional_reads=("events", "fold_indexes"),
    writes=(ENTRY,),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
