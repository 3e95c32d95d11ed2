"""Which fusion is best on this catalog's judged queries: found by Ray Tune on train, chosen on validation, the losers reported.

Candidates are computed once, by the stage that serves. What fusions there are is `tune_spaces/fusion.py`'s matter.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from intarsia.catalog.columns import open_columns
from intarsia.config import plain, setting
from intarsia.engine.candidates import judged_candidates, read_judged
from intarsia.engine.config import EngineConfig
from intarsia.engine.fusion_task import FusionTask, lean_to_equal, mean_known, weigh_by_kind
from intarsia.errors import DataError
from intarsia.evaluation.compare import Interval, PairedDifference, bootstrap_mean, paired_bootstrap
from intarsia.evaluation.known_items import is_made
from intarsia.evaluation.qrels import Floats, qrels_by_query
from intarsia.fusion.spec import FusionSpec
from intarsia.lake import Lake, write_json
from intarsia.onray.tuning import Figures, Point, PointSearch, run_search
from intarsia.records.judgment import Split
from pipelines.job import Counts, Job, Progress, main
from tune_spaces.fusion import FusionSpaceConfig, first_points, fusion_space, spec_of

_CUTOFF = 10  # nDCG@10 is what is searched for


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFusionConfig:
    """How candidates are found, which fusions are tried, and how long."""

    engine: EngineConfig = setting("how deep to look; goes into the release with the fusion", factory=EngineConfig)
    space: FusionSpaceConfig = setting("which fusions are tried", factory=FusionSpaceConfig)
    num_trials: int = setting("points measured on the train queries", 60)
    num_at_once: int = setting("trials beside each other; changes which points are tried", 2)
    num_finalists: int = setting("best points on train that are measured on validation", 5)
    num_by_kind: int = setting("finalists that are also tried with weights by kind of query", 2)
    simplex_steps: int = setting("weights by kind come from a grid with steps of 1 / this", 10)
    min_queries_by_kind: int = setting("train queries of a kind from which it gets weights of its own", 30)
    made_may_lose: float = setting(
        "where nobody judged any query: by what share of what it lacks to 1 the nDCG@10 of made queries may be worse for weights nearer to "
        "equal; made of title words, they flatter bm25",
        0.1,
    )
    seed: int = setting("of the search and of the intervals", 13)

    def __post_init__(self) -> None:
        for name in ("num_trials", "num_at_once", "num_finalists", "simplex_steps", "min_queries_by_kind"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        for name in ("num_by_kind", "made_may_lose"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One fusion and its mean nDCG@10; a baseline that asks one retriever alone has no spec, a failed trial no figures."""

    name: str
    spec: FusionSpec | None
    train: float | None
    validation: Interval | None = None
    chosen_minus_it: PairedDifference | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionSearch:
    """The fusion that was best on validation, the baselines and finalists beside it, and every trial."""

    chosen: Tried
    baselines: tuple[Tried, ...]
    finalists: tuple[Tried, ...]
    trials: tuple[Tried, ...]


def run(config: SearchFusionConfig, lake: Lake, progress: Progress) -> Counts:
    """Judged queries and their candidates -> fusion_spec, with the table of everything tried."""
    train = read_task(lake, config.engine, "train", progress)
    validation = read_task(lake, config.engine, "validation", progress)
    only_made = all(is_made(query.query_id) for query in read_judged(lake, ["train", "validation"])[0])
    found = search_fusion(train, validation, config, folder=lake.root, progress=progress, only_made=only_made)
    assert found.chosen.spec is not None
    assert found.chosen.validation is not None
    with lake.publish("fusion_spec", {"kind": found.chosen.spec.kind}) as folder:
        found.chosen.spec.save(folder)
        config.engine.save(folder)
        write_json(folder / "trials.json", plain(found))
    print("\n".join(table(found)))
    return {
        "trials": len(found.trials),
        "failed": sum(one.error is not None for one in found.trials),
        "kind": found.chosen.spec.kind,
        "validation_ndcg@10": found.chosen.validation.mean,
    }


def read_task(lake: Lake, engine: EngineConfig, split: Split, progress: Progress) -> FusionTask:
    """The judged queries of one split, with their candidates."""
    found = judged_candidates(lake, engine, [split], lambda step, done, total: progress(f"{split} {step}", done, total))
    _, judgments = read_judged(lake, [split])
    product_ids = open_columns(lake.current("indexes").path / "columns").product_ids
    rows = {product_id: row for row, product_id in enumerate(product_ids)}
    qrels = qrels_by_query(judgments, [each.judged.query_id for each in found], rows)
    return FusionTask.of([each.candidates for each in found], qrels)


def search_fusion(
    train: FusionTask,
    validation: FusionTask,
    config: SearchFusionConfig,
    *,
    folder: Path,
    progress: Progress,
    only_made: bool = False,
) -> FusionSearch:
    """Tune on train, give the best also weights by kind of query, choose on validation; equal inputs give equal results.

    The choice is made on the validation queries, so their intervals flatter it a little: the honest ones are those of the test split.
    Queries that are `only_made` have no say by kind, and of what they choose the weights lean towards equal.

    Raises:
        DataError: no product is relevant to any query of one of the splits.
        ConfigError: every trial failed.
    """
    _check_judged(train, "train")
    _check_judged(validation, "validation")
    trials = tune_fusion(train, config, folder=folder, progress=progress)
    best = _best_different(trials, config.num_finalists)
    num_by_kind = 0 if only_made else config.num_by_kind
    refined = [better for one in best[:num_by_kind] if (better := _by_kind(one, train, config))]
    plain_fusions = [
        Tried(name=name, spec=spec, train=mean_known(train.ndcg(spec, _CUTOFF)))
        for name, spec in _plain(config).items()
    ]
    finalists = [(one, validation.ndcg(_spec(one), _CUTOFF)) for one in (*plain_fusions, *best, *refined)]
    chosen, chosen_Q = max(
        finalists, key=lambda each: mean_known(each[1])
    )  # of equals the first, which is the simplest
    if only_made:
        leaning = _leaning(chosen, train, validation, config)
        finalists.append((leaning, validation.ndcg(_spec(leaning), _CUTOFF)))
        chosen, chosen_Q = finalists[-1]
    judged = [
        _judged(one, values_Q, chosen_Q, config.seed) for one, values_Q in (*_alone(train, validation), *finalists)
    ]
    num_baselines = len(judged) - len(finalists) + len(plain_fusions)
    return FusionSearch(
        chosen=next(one for one in judged if one.name == chosen.name),
        baselines=tuple(judged[:num_baselines]),
        finalists=tuple(judged[num_baselines:]),
        trials=tuple(trials),
    )


def tune_fusion(train: FusionTask, config: SearchFusionConfig, *, folder: Path, progress: Progress) -> list[Tried]:
    """The trials of Ray Tune and Optuna, in the order they were chosen."""
    retrievers, max_depth = train.batch.retrievers, config.engine.depth
    search = PointSearch(
        measure=measure_point,
        data=train,
        space=fusion_space(retrievers, config.space, max_depth=max_depth),
        maximise="ndcg",
        worst=0.0,
        first_points=first_points(retrievers, config.space, max_depth=max_depth),
        num_trials=config.num_trials,
        num_at_once=config.num_at_once,
        seed=config.seed,
    )
    trials = run_search(search, folder=folder, on_trial=partial(progress, "trials"))
    return [
        Tried(
            name=f"trial {one.number}",
            spec=None if one.error else spec_of(one.point, retrievers),
            train=one.figures["ndcg"] if one.figures else None,
            error=one.error,
        )
        for one in trials
    ]


def measure_point(point: Point, train: FusionTask) -> Figures:
    """What one trial does."""
    return {"ndcg": mean_known(train.ndcg(spec_of(point, train.batch.retrievers), _CUTOFF))}


def table(found: FusionSearch) -> list[str]:
    """The lines that the job prints: baselines, finalists, and what the chosen one gains over each."""
    lines = [f"{'nDCG@10':<26} train  validation [95 %]      the chosen minus it"]
    for one in (*found.baselines, *found.finalists):
        assert one.train is not None
        assert one.validation is not None
        assert one.chosen_minus_it is not None
        gain, mean = one.chosen_minus_it.difference, one.validation
        against = f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] {one.chosen_minus_it.verdict}"
        lines.append(
            f"{one.name:<26} {one.train:.3f}  {mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]  "
            f"{'chosen' if one.name == found.chosen.name else against}"
        )
    lines += [f"{one.name} failed: {one.error}" for one in found.trials if one.error]
    return [*lines, f"chosen: {_said(_spec(found.chosen))}"]


def _said(spec: FusionSpec) -> str:
    parts = [f"{spec.kind}, {f'k {spec.rrf_k:.1f}' if spec.kind == 'rrf' else spec.normaliser}, depth {spec.depth}"]
    for kind, weights in [("all", spec.weights), *spec.weights_by_kind.items()]:
        shares = [f"{name} {weight / sum(weights.values()):.2f}" for name, weight in weights.items() if weight]
        parts.append(f"{kind}: {', '.join(shares) or 'all equal'}")
    return "; ".join(parts)


def _check_judged(task: FusionTask, split: Split) -> None:
    if not (task.judged_QJ > 0).any():
        raise DataError(
            table="judgments",
            field="grade",
            found=f"none above 0 for the {len(task.judged_QJ)} queries of split {split}",
            allowed="some relevant product for queries of both train and validation",
            fix=f"judge queries of split {split}, or correct the split of the queries",
        )


def _plain(config: SearchFusionConfig) -> dict[str, FusionSpec]:
    depth = config.engine.depth
    return {
        "equal weights": FusionSpec(kind="equal", depth=depth),
        "rrf, k 60": FusionSpec(kind="rrf", depth=depth),
    }


def _alone(train: FusionTask, validation: FusionTask) -> Iterator[tuple[Tried, Floats]]:
    """Each retriever's own order; a query that it cannot answer counts 0."""
    order = FusionSpec(kind="equal")  # of one retriever: the order of its scores
    for name in validation.batch.retrievers:
        on_train = mean_known(train.alone(name).ndcg(order, _CUTOFF))
        yield Tried(name=f"{name} alone", spec=None, train=on_train), validation.alone(name).ndcg(order, _CUTOFF)


def _judged(one: Tried, values_Q: Floats, chosen_Q: Floats, seed: int) -> Tried:
    return replace(
        one,
        validation=bootstrap_mean(values_Q, seed=seed),
        chosen_minus_it=paired_bootstrap(chosen_Q, values_Q, seed=seed),
    )


def _best_different(trials: Sequence[Tried], num: int) -> list[Tried]:
    """The trials that are best on train, of those with equal figures the deepest only: it gives the ranker most to lift."""
    different: dict[float, Tried] = {}
    for one in trials:
        if one.train is not None and (
            one.train not in different or _spec(one).depth > _spec(different[one.train]).depth
        ):
            different[one.train] = one
    return [different[train] for train in sorted(different, reverse=True)[:num]]


def _by_kind(one: Tried, train: FusionTask, config: SearchFusionConfig) -> Tried | None:
    spec = weigh_by_kind(
        _spec(one), train, k=_CUTOFF, num_steps=config.simplex_steps, min_queries=config.min_queries_by_kind
    )
    if not spec.weights_by_kind:
        return None
    return Tried(name=f"{one.name}, by kind", spec=spec, train=mean_known(train.ndcg(spec, _CUTOFF)))


def _leaning(one: Tried, train: FusionTask, validation: FusionTask, config: SearchFusionConfig) -> Tried:
    spec = lean_to_equal(_spec(one), [train, validation], k=_CUTOFF, may_lose=config.made_may_lose)
    return Tried(name=f"{one.name}, leaning", spec=spec, train=mean_known(train.ndcg(spec, _CUTOFF)))


def _spec(one: Tried) -> FusionSpec:
    assert one.spec is not None
    return one.spec


JOB = Job(
    name="search_fusion",
    about="find the fusion kind, normaliser and weights on judged queries (Ray Tune + Optuna)",
    config=SearchFusionConfig,
    reads=("indexes", "query_encoders", "queries", "judgments"),
    writes=("fusion_spec",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
