"""Judged train and validation queries -> training rows: fused candidates with features and labels, as in serving.

Train queries are used twice, the second time over the catalog with a share of the images removed, so that the ranker
learns from result lists where only some products have an image (modality dropout; Neverova et al., "ModDrop", TPAMI
2016, DOI 10.1109/TPAMI.2015.2461544).
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
from intarsia.experiments.judged_candidates import JudgedCandidates, candidates_by_stage, read_judged, retrieve_again
from intarsia.experiments.missing_images import retrieve_without_images
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

RANKER_SPLITS: tuple[Split, ...] = ("train", "validation")
FEATURES_FILE = "features.json"
WITH_MISSING_IMAGES = ", with missing images"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTrainingRowsConfig:
    """Missing images, batches and seed."""

    seed: int = setting("seed of the row order within a query, and of the missing images", 20_260, advanced=True)
    queries_per_part: int = setting("queries per batch", 64, advanced=True)
    missing_images: float = setting(
        "share of the products whose images are removed when train queries are used a second time; 0: use them once. "
        "No effect without images",
        0.5,
    )
    feature_fingerprint: str = setting(
        "fingerprint of the features, so that new features make new rows; do not set it",
        FEATURES.fingerprint,
        advanced=True,
    )

    def __post_init__(self) -> None:
        check_range(self, "queries_per_part", low=1)
        check_range(self, "missing_images", low=0.0, high=1.0)
        if self.feature_fingerprint != FEATURES.fingerprint:
            raise ValueError(
                f"feature_fingerprint is {self.feature_fingerprint}, this code computes {FEATURES.fingerprint}; "
                "leave the setting out"
            )


def run(config: BuildTrainingRowsConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Indexes, fusion spec, product stats and judgments -> training_rows."""
    fusion = lake.current("fusion_spec").path
    engine = EngineConfig.open(fusion)
    stats = lake.current("product_stats").path
    _, judgments = read_judged(lake, RANKER_SPLITS)
    spec = training_rows_spec(FEATURES.names)
    counts, number = Counter({"queries": 0, "with missing images": 0, "rows": 0, "positive": 0}), itertools.count()
    with lake.publish("training_rows", {"feature_fingerprint": FEATURES.fingerprint}) as folder:
        for retrieve, queries, suffix in _candidate_sets(config, lake, engine, judgments, progress):
            parts = rows_of(
                queries,
                by_pair(judgments),
                fuser=open_fuse_crossed(fusion, retrieve.vectors),
                rank_depth=engine.rank_depth,
                assembler=open_assembler(retrieve, stats),
                columns=retrieve.columns,
                config=config,
                id_suffix=suffix,
            )
            for table in parts:
                spec.write_part(table, folder, next(number))
                counts["rows"] += table.num_rows
                counts["positive"] += sum(label > 0 for label in table["label"].to_pylist())
                progress("rows", counts["rows"], counts["rows"])
            counts["with missing images" if suffix else "queries"] += len(queries)
        write_json(folder / FEATURES_FILE, {"fingerprint": FEATURES.fingerprint, "names": list(FEATURES.names)})
    return {**counts, "features": len(FEATURES.names)}


def _candidate_sets(
    config: BuildTrainingRowsConfig,
    lake: Lake,
    engine: EngineConfig,
    judgments: Sequence[Judgment],
    progress: JobProgress,
) -> Iterator[tuple[RetrieveStage, Sequence[JudgedCandidates], str]]:
    """(retrieve stage, its judged candidates, suffix of the query ids)."""
    for stage, queries in candidates_by_stage(lake, engine, RANKER_SPLITS, progress):
        yield stage.retrieve, queries, ""
        train = [query for query in queries if query.judged.split == "train"]
        if train and config.missing_images and stage.retrieve.columns.num_images.any():
            with_missing_images = retrieve_without_images(stage.retrieve, config.missing_images, config.seed)
            yield (
                with_missing_images,
                retrieve_again(with_missing_images, train, judgments, progress),
                WITH_MISSING_IMAGES,
            )


def rows_of(
    queries: Sequence[JudgedCandidates],
    judged: JudgmentsByPair,
    *,
    fuser: CrossFitFuser,
    rank_depth: int,
    assembler: Assembler,
    columns: ProductColumns,
    config: BuildTrainingRowsConfig,
    id_suffix: str = "",
) -> Iterator[pa.Table]:
    """The rows of the queries, in batches, by the functions that serve: fuse, cut to `rank_depth`, assemble, compute.

    A fitted fusion scores its own train queries too well, so each train query is fused by the fuser of its fold.
    """
    for start in range(0, len(queries), config.queries_per_part):
        batch = queries[start : start + config.queries_per_part]
        kept = [best_fused(_out_of_fold(fuser, query).fuse(query.candidates), rank_depth) for query in batch]
        encoded = [replace(query.encoded, vectors=c.query_vectors) for query, c in zip(batch, kept, strict=True)]
        frame = assembler.assemble(encoded, kept)
        yield training_rows(
            [query.judged for query in batch],
            FEATURES.compute(frame),
            frame.group_offsets,
            [columns.product_ids[row] for candidates in kept for row in candidates.rows_C],
            judged,
            seed=config.seed,
            id_suffix=id_suffix,
        )


def _out_of_fold(fuser: CrossFitFuser, query: JudgedCandidates) -> Fuser:
    judged = query.judged
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
