"""The judged train and validation queries, as the ranker will meet them: engine candidates, fused, with their features and labels.

Train queries are asked twice, the second time of the catalog with some pictures taken away: a ranker that never met a product without its
picture beside others with theirs does not know what that means, and puts it last (modality dropout; Neverova et al., "ModDrop", TPAMI 2016,
DOI 10.1109/TPAMI.2015.2461544).
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from intarsia.config import check_range, setting
from intarsia.engine.config import EngineConfig
from intarsia.engine.rank import best_fused
from intarsia.engine.retrieve import RetrieveStage
from intarsia.engine.search import open_assembler, open_fuse_crossed
from intarsia.experiments.judged_candidates import JudgedCandidates, judged_by_view, read_judged, retrieve_again
from intarsia.experiments.missing_images import without_images
from intarsia.features.assemble import Assembler
from intarsia.features.default_set import FEATURES
from intarsia.features.labelled_rows import JudgmentsByPair, by_pair, training_rows
from intarsia.fusion.ensemble.cross_fit import CrossFitFuser
from intarsia.fusion.protocol import Fuser
from intarsia.lake import Lake, write_json
from intarsia.records.judgment import Judgment, Split
from intarsia.records.product_columns import ProductColumns
from intarsia.tables.training_rows import training_rows_spec
from pipelines.job import Counts, Job, JobProgress, main

SPLITS: tuple[Split, ...] = ("train", "validation")
FEATURES_FILE = "features.json"
WITH_MISSING_IMAGES = ", with fewer pictures"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTrainingRowsConfig:
    """How the rows are laid out."""

    seed: int = setting("of the order of the rows within a query, and of whose pictures are taken away", 20_260)
    queries_per_part: int = setting("queries that are computed, and written, together", 64)
    missing_images: float = setting(
        "share of the products whose pictures the train queries miss when they are asked a second time; 0 asks once. Does nothing for a "
        "catalog without pictures",
        0.5,
    )
    feature_fingerprint: str = setting(
        "features the rows hold; only there so that new features make new rows: leave it out of the file",
        FEATURES.fingerprint,
    )

    def __post_init__(self) -> None:
        check_range(self, "queries_per_part", low=1)
        check_range(self, "missing_images", low=0.0, high=1.0)
        if self.feature_fingerprint != FEATURES.fingerprint:
            raise ValueError(
                f"feature_fingerprint is {self.feature_fingerprint}, this code computes {FEATURES.fingerprint}; leave the setting out"
            )


def run(config: BuildTrainingRowsConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Indexes, fusion spec, product stats and judgments -> training_rows."""
    fusion = lake.current("fusion_spec").path
    engine = EngineConfig.open(fusion)
    stats = lake.current("product_stats").path
    _, judgments = read_judged(lake, SPLITS)
    spec = training_rows_spec(FEATURES.names)
    counts, number = Counter({"queries": 0, "asked again": 0, "rows": 0, "positive": 0}), itertools.count()
    with lake.publish("training_rows", {"feature_fingerprint": FEATURES.fingerprint}) as folder:
        for retrieve, found, asked in _askings(config, lake, engine, judgments, progress):
            parts = rows_of(
                found,
                by_pair(judgments),
                fuser=open_fuse_crossed(fusion, retrieve.vectors),
                rank_depth=engine.rank_depth,
                assembler=open_assembler(retrieve, stats),
                columns=retrieve.columns,
                config=config,
                asked=asked,
            )
            for table in parts:
                spec.write_part(table, folder, next(number))
                counts["rows"] += table.num_rows
                counts["positive"] += sum(label > 0 for label in table["label"].to_pylist())
                progress("rows", counts["rows"], counts["rows"])
            counts["asked again" if asked else "queries"] += len(found)
        write_json(folder / FEATURES_FILE, {"fingerprint": FEATURES.fingerprint, "names": list(FEATURES.names)})
    return {**counts, "features": len(FEATURES.names)}


def _askings(
    config: BuildTrainingRowsConfig,
    lake: Lake,
    engine: EngineConfig,
    judgments: Sequence[Judgment],
    progress: JobProgress,
) -> Iterator[tuple[RetrieveStage, Sequence[JudgedCandidates], str]]:
    """The stage that is asked, what it found, and what stands behind the ids of its queries."""
    for view, found in judged_by_view(lake, engine, SPLITS, progress):
        yield view.retrieve, found, ""
        train = [each for each in found if each.judged.split == "train"]
        if train and config.missing_images and view.retrieve.columns.num_images.any():
            with_missing_images = without_images(view.retrieve, config.missing_images, config.seed)
            yield (
                with_missing_images,
                retrieve_again(with_missing_images, train, judgments, progress),
                WITH_MISSING_IMAGES,
            )


def rows_of(
    found: Sequence[JudgedCandidates],
    judged: JudgmentsByPair,
    *,
    fuser: CrossFitFuser,
    rank_depth: int,
    assembler: Assembler,
    columns: ProductColumns,
    config: BuildTrainingRowsConfig,
    asked: str = "",
) -> Iterator[pa.Table]:
    """The rows of some queries at a time: the same fusing, cutting, assembling and computing as in serving.

    A fusion that was fitted on train queries is sure of them as it will be of no other: each is fused by what has not seen it.
    """
    for start in range(0, len(found), config.queries_per_part):
        some = found[start : start + config.queries_per_part]
        kept = [best_fused(_unseeing(fuser, each).fuse(each.candidates), rank_depth) for each in some]
        queries = [
            replace(each.encoded, vectors=candidates.query_vectors) for each, candidates in zip(some, kept, strict=True)
        ]
        frame = assembler.assemble(queries, kept)
        yield training_rows(
            [each.judged for each in some],
            FEATURES.compute(frame),
            frame.group_offsets,
            [columns.product_ids[row] for candidates in kept for row in candidates.rows_C],
            judged,
            seed=config.seed,
            id_suffix=asked,
        )


def _unseeing(fuser: CrossFitFuser, each: JudgedCandidates) -> Fuser:
    judged = each.judged
    return fuser.out_of_fold(str(judged.query_id)) if judged.split == "train" else fuser.full


JOB = Job(
    name="build_training_rows",
    summary="judged train and validation queries -> the features and labels of their candidates",
    config=BuildTrainingRowsConfig,
    reads=("indexes", "query_encoders", "product_stats", "fusion_spec", "queries", "judgments"),
    optional_reads=("fold_indexes",),
    writes=("training_rows",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
