"""Evaluate the staged release against baselines and the live release; write a report, and evidence for the gate."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from intarsia.config import setting, to_jsonable
from intarsia.encoders.open import read_encoder_card
from intarsia.engine.search import SearchEngine, open_query_encoders
from intarsia.errors import DataError
from intarsia.evaluation.evaluate import Evaluation, EvaluationConfig, evaluate_systems, mean_of
from intarsia.evaluation.qrels import Qrels, qrels_by_query
from intarsia.evaluation.report import (
    EvaluationReport,
    EvaluationSetting,
    MissingImagesResult,
    evaluation_lines,
    evaluation_to_jsonable,
    write_report,
)
from intarsia.evaluation.slices import standard_slices
from intarsia.experiments.evaluated_systems import (
    FUSED,
    PLAIN_FUSIONS,
    RANKED,
    TEXT_ONLY,
    Orders,
    all_orders,
    ranked_orders,
)
from intarsia.experiments.fit_curves import read_learning_curves
from intarsia.experiments.fusion_search_result import describe_choice, read_search, trial_rows
from intarsia.experiments.judged_candidates import (
    JudgedCandidates,
    ReportProgress,
    read_judged,
    retrieve_judged,
    row_numbers,
)
from intarsia.experiments.text_only_fusion import open_text_only, text_only_orders
from intarsia.features.stats import ProductStats
from intarsia.ids import ReleaseId
from intarsia.lake import Lake, write_json
from intarsia.maths.arrays import Floats
from intarsia.names import ENCODED_MODALITIES
from intarsia.records.judgment import JudgedQuery, Judgment, Split
from intarsia.release.bundle import open_bundle
from intarsia.release.live_comparison import ReleaseFigures, judged_digest, orders_of_release, with_figures
from intarsia.release.missing_image_report import compare_shares, gains_of, orders_at
from intarsia.release.pointer import read_staged, release_to_compare
from intarsia.release.promotion_gate import Evidence
from intarsia.tables.products import REJECTED_PRODUCTS
from pipelines.job import Counts, Job, JobProgress, command_line, main

_FP32_TEXT, _FP32_RANKED = "text, fp32 query", "ranked, fp32 query"
_TOLERANCE = 1e-6  # 0.29 * 100 is not exactly 29 in binary floating point
_LIVE, _LIVE_FIGURES = "live release", "live release at its own evaluation"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateReleaseConfig:
    """Queries, metrics, and shares of missing images."""

    data_set: str = setting("name of the data in the report", "catalog")
    split: Split = setting("split of the judged queries; `test` should be used once per release", "test", advanced=True)
    evaluation: EvaluationConfig = setting("metrics and intervals", factory=EvaluationConfig)
    missing_images: tuple[float, ...] = setting(
        "shares of the products whose images are removed in turn; the gate refuses a release that is worse with some "
        "or all images than without any, or whose fusion is worse than the best text-only one. Empty skips these "
        "checks; no effect without images",
        (0.1, 0.25, 0.5, 0.75, 0.9),
        advanced=True,
    )
    notes: tuple[str, ...] = setting("sentences for the report: origin of the judgments, limits of the figures", ())

    def __post_init__(self) -> None:
        for share in self.missing_images:
            if not 0 < share < 1 or abs(share * 100 - round(share * 100)) > _TOLERANCE:
                raise ValueError(f"missing_images has {share}; allowed: whole percents between 0 and 1, such as 0.25")


@dataclass(frozen=True, slots=True, kw_only=True)
class _JudgedSplit:
    """The judged queries of the split."""

    queries: Sequence[JudgedQuery]
    judgments: Sequence[Judgment]
    report: ReportProgress

    def candidates(self, engine: SearchEngine, *, folder: Path | None = None) -> list[JudgedCandidates]:
        """The candidates of every query.

        With a release's `folder`, queries are encoded by its fp32 encoders instead of those that serve.
        """
        encoders = engine.encoders
        if folder is not None:
            encoders = open_query_encoders(folder / "query_encoders", indexes=folder / "indexes", precision="fp32")
        return retrieve_judged(encoders, engine.retrieve, self.queries, self.judgments, self.report)

    def digest(self, config: EvaluationConfig) -> str:
        """See `judged_digest`."""
        return judged_digest(self.queries, self.judgments, metric=config.headline, gain=config.gain)


def run(config: EvaluateReleaseConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Every system on the same queries -> report.md, report.html, evaluation.json, evidence.json, figures.json."""
    release_id = read_staged(lake)
    releases = lake.root / "releases"
    bundle = releases / release_id
    engine = open_bundle(bundle)
    judged = _JudgedSplit(
        queries=_queries(lake, config), judgments=read_judged(lake, [config.split])[1], report=progress
    )
    candidates = judged.candidates(engine)
    systems = all_orders(candidates, engine.fuser, engine.rank)
    if _serves_int8(bundle):
        fp32_candidates = judged.candidates(engine, folder=bundle)
        systems[_FP32_TEXT] = all_orders(fp32_candidates, engine.fuser, engine.rank)["text"]
        systems[_FP32_RANKED] = ranked_orders(fp32_candidates, engine.fuser, engine.rank)
    text_only = open_text_only(bundle / "fusion_spec")
    if text_only is not None:
        systems[TEXT_ONLY] = text_only_orders(candidates, text_only)
    shares = _shares(config, engine)
    with_missing_images = orders_at(engine, bundle, shares[1:], judged.candidates, config.evaluation.seed)
    systems |= with_missing_images
    live, why_not_opened = release_to_compare(lake), ""
    if live is not None:
        orders, why_not_opened = orders_of_release(releases / live, engine, judged.candidates)
        if orders is not None:
            systems[_LIVE] = orders
    qrels = qrels_by_query(judged.judgments, [q.query_id for q in judged.queries], row_numbers(engine.retrieve))
    figures = ReleaseFigures.read(lake, judged.digest(config.evaluation))
    live_figures_Q = figures.of(live) if why_not_opened and live is not None else None
    clicks_N = ProductStats.open(bundle / "product_stats").columns(engine.columns.product_ids)["click"]
    not_in_slices = (_FP32_TEXT, _FP32_RANKED, *with_missing_images)
    evaluation = _evaluate(
        systems, qrels, judged.queries, engine, config, live_figures_Q, clicks_N, not_in_slices=not_in_slices
    )
    for name, system in ((live, _LIVE), (release_id, RANKED)):
        if name is not None and system in systems:
            figures = figures.with_release(name, evaluation.values[system])
    against_live = next(
        (row.paired.difference for row in evaluation.comparisons if row.baseline in (_LIVE, _LIVE_FIGURES)), None
    )
    missing_images = compare_shares(evaluation, shares, config.evaluation)
    over_none, over_text_only = gains_of(missing_images)
    in_report = replace(
        evaluation, systems=tuple(row for row in evaluation.systems if row.name not in with_missing_images)
    )
    evidence = Evidence(
        release_id=release_id,
        metric=evaluation.headline,
        num_queries=evaluation.num_queries - evaluation.num_without_positive,
        live=live,
        against_live=(against_live.mean, against_live.low, against_live.high) if against_live else None,
        why_not_opened=why_not_opened,
        missing_images=over_none,
        text_only=over_text_only,
    )
    query_ids = [query.query_id for query in judged.queries]
    with lake.publish("evaluation", {"release_id": release_id}) as folder:
        write_report(_report(config, lake, engine, in_report, missing_images, release_id), folder)
        write_json(folder / "evaluation.json", evaluation_to_jsonable(evaluation, query_ids))
        write_json(folder / "evidence.json", to_jsonable(evidence))
        figures.save(folder)
    print("\n".join(evaluation_lines(evaluation)))
    print(f"report: {lake.current('evaluation').path / 'report.html'}")
    headline = {row.name: row.metrics[evaluation.headline].mean for row in evaluation.systems}
    return {"release": release_id, "queries": evidence.num_queries, **{n: headline[n] for n in ("bm25", FUSED, RANKED)}}


def _shares(config: EvaluateReleaseConfig, engine: SearchEngine) -> tuple[float, ...]:
    """The shares of missing images to measure, from 0 to 1; empty for a catalog without images."""
    if not config.missing_images or not engine.columns.num_images.any():
        return ()
    return tuple(sorted({0.0, *config.missing_images, 1.0}))


def _queries(lake: Lake, config: EvaluateReleaseConfig) -> list[JudgedQuery]:
    queries, _ = read_judged(lake, [config.split])
    if not queries:
        raise DataError(
            table="queries",
            field="split",
            found=f"no query of split {config.split}",
            allowed="at least one",
            fix="judge queries of that split, or evaluate another one with evaluate_release.split",
        )
    return queries


def _evaluate(
    systems: dict[str, Orders],
    qrels: list[Qrels],
    queries: Sequence[JudgedQuery],
    engine: SearchEngine,
    config: EvaluateReleaseConfig,
    live_figures_Q: Floats | None,
    clicks_N: Floats,
    *,
    not_in_slices: Sequence[str],
) -> Evaluation:
    """All tables; `live_figures_Q` are the figures of the live release's own evaluation, if it cannot be opened now."""
    headline = config.evaluation.headline
    best_single = max(
        engine.retrieve.retrievers, key=lambda name: mean_of(systems[name], qrels, headline, config.evaluation.gain)
    )
    baselines = list(dict.fromkeys(("bm25", best_single, *PLAIN_FUSIONS, *({TEXT_ONLY} & systems.keys()))))
    pairs = [(RANKED, FUSED), *((RANKED, name) for name in baselines), *((FUSED, name) for name in baselines)]
    pairs += [pair for pair in (("text", _FP32_TEXT), (RANKED, _FP32_RANKED), (RANKED, _LIVE)) if pair[1] in systems]
    evaluation = evaluate_systems(
        systems,
        qrels,
        pairs=pairs,
        slices=standard_slices(queries, qrels, engine.columns.num_images > 0, clicks_N),
        num_products=engine.columns.num_rows,
        config=config.evaluation,
        not_in_slices=not_in_slices,
    )
    if live_figures_Q is None:
        return evaluation
    return with_figures(evaluation, RANKED, _LIVE_FIGURES, live_figures_Q, config.evaluation)


def _report(
    config: EvaluateReleaseConfig,
    lake: Lake,
    engine: SearchEngine,
    evaluation: Evaluation,
    missing_images: tuple[MissingImagesResult, ...],
    release_id: ReleaseId,
) -> EvaluationReport:
    bundle = lake.root / "releases" / release_id
    search = read_search(bundle / "fusion_spec")
    ranker = json.loads((bundle / "ranker" / "ranker.json").read_text(encoding="utf-8"))
    return EvaluationReport(
        title=f"{config.data_set}: release {release_id}",
        setting=EvaluationSetting(
            data_set=config.data_set,
            split=config.split,
            num_products=engine.columns.num_rows,
            depth=engine.retrieve.config.depth,
            commands=(command_line(),),
            release_id=release_id,
        ),
        evaluation=evaluation,
        missing_images=missing_images,
        fusion_trials=trial_rows(search),
        fusion_choice=describe_choice(search),
        learning_curves=read_learning_curves(bundle, lake),
        importances=ranker.get("importances", {}),
        notes=(
            *config.notes,
            *_query_encoder_notes(bundle),
            "Rows named fp32 use the fp32 query encoder where serving uses an int8 one: the difference is the loss by "
            "int8.",
            "A product that was not judged counts as not relevant; a judged product that is not in the catalog counts "
            "against every system.",
        ),
        defects=catalog_defects(lake),
    )


def _serves_int8(bundle: Path) -> bool:
    files = read_encoder_card(bundle / "query_encoders" / "text")["files"]
    assert isinstance(files, dict)
    return bool(files["int8"] != files["fp32"])


def _query_encoder_notes(bundle: Path) -> Iterator[str]:
    for name in ENCODED_MODALITIES:
        card = read_encoder_card(bundle / "query_encoders" / name)
        yield f"Query encoder in serving, {name}: {card.get('int8_is', 'as the catalog was')}."


def catalog_defects(lake: Lake) -> tuple[str, ...]:
    """Counts of the rejected catalog values by reason and field, the most frequent first."""
    if not lake.has("rejected_products"):
        return ()
    table = REJECTED_PRODUCTS.read(lake.current("rejected_products"), ["field", "reason", "dropped"])
    counts = Counter((row["reason"], row["field"], row["dropped"]) for row in table.to_pylist())
    return tuple(
        f"{number} x {reason} in {field}: "
        f"{'the row is not in the catalog' if dropped else 'the product is kept without it'}"
        for (reason, field, dropped), number in sorted(counts.items(), key=lambda count: -count[1])
    )


JOB = Job(
    name="evaluate_release",
    summary="the staged release on judged queries -> a report against baselines and the live release",
    config=EvaluateReleaseConfig,
    reads=("staged_release", "queries", "judgments", "fusion_spec", "ranker"),
    optional_reads=("rejected_products", "alignment", "text_tower", "image_tower"),
    extra_inputs=lambda lake, config: {"compared with": str(release_to_compare(lake))},
    writes=("evaluation",),
    needs_ray=False,
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
