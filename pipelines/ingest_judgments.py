"""Judged queries and grades, from files or from the catalog -> `queries` and `judgments`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.catalog.mapping import FileShape
from intarsia.catalog.sources import UnreadableRow, read_raw_rows
from intarsia.config import setting
from intarsia.errors import DataError
from intarsia.evaluation.known_items import KnownItemsConfig, known_items
from intarsia.events.judged_sets import JudgmentsMapping, QueriesMapping, read_judgments, read_queries
from intarsia.ids import ProductId
from intarsia.lake import Lake
from intarsia.logs import log_warning
from intarsia.records.judgment import JudgedQuery, Judgment, Split
from intarsia.tables.judgments import JUDGMENTS, QUERIES, judgment_to_row, query_to_row
from intarsia.tables.products import PRODUCTS
from pipelines.job import Counts, Job, JobProgress, main

_SYNTHETIC_SPLITS: tuple[Split, ...] = ("train", "train", "train", "validation", "test")
_SYNTHETIC_SPLITS_WITH_FILES = _SYNTHETIC_SPLITS[:-1]  # the test split keeps real queries only


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestJudgmentsConfig:
    """Files of the judged set and their columns, and synthetic queries."""

    folder: Path | None = setting("folder of the data; default: the generated market of the lake", None)
    queries: QueriesMapping = setting("columns of the queries file", factory=QueriesMapping)
    queries_file: FileShape = setting("format of the queries file", factory=FileShape)
    judgments: JudgmentsMapping = setting("columns of the judgments file", factory=JudgmentsMapping)
    judgments_file: FileShape = setting("format of the judgments file", factory=FileShape)
    has_files: bool = setting("whether there is a judged set; without one, known_items is required", True)
    known_items: KnownItemsConfig | None = setting(
        "synthetic queries from the titles, for a shop without judged queries, or without enough to train on; with "
        "files they join train and validation only, so that the test split has real queries only",
        None,
    )

    def __post_init__(self) -> None:
        if not self.has_files and self.known_items is None:
            raise ValueError(
                "has_files is false and known_items is not given; allowed: judged files, known_items, or both"
            )


def run(config: IngestJudgmentsConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Judged set -> queries, judgments.

    Judgments of products that are not in the catalog are kept: they count against recall.
    """
    titles = _titles(lake)
    queries, judgments = _judged_files(config, lake) if config.has_files else ([], [])
    if config.known_items is not None:
        splits = _SYNTHETIC_SPLITS_WITH_FILES if queries else _SYNTHETIC_SPLITS
        synthetic_queries, synthetic_judgments = known_items(titles, config.known_items, splits=splits)
        queries, judgments = [*queries, *synthetic_queries], [*judgments, *synthetic_judgments]
    progress("queries", len(queries), len(queries))
    progress("judgments", len(judgments), len(judgments))
    missing = [judgment for judgment in judgments if judgment.product_id not in titles]
    if missing:
        log_warning("judged_products_missing", judgments=len(missing), first=missing[0].product_id)
    QUERIES.publish(lake, QUERIES.from_rows([query_to_row(query) for query in queries]))
    JUDGMENTS.publish(lake, JUDGMENTS.from_rows([judgment_to_row(judgment) for judgment in judgments]))
    return {
        "queries": len(queries),
        "by split": dict(sorted(Counter(query.split for query in queries).items())),
        "by kind": dict(sorted(Counter(query.kind for query in queries).items())),
        "by locale": dict(sorted(Counter(query.locale for query in queries).items())),
        "judgments": len(judgments),
        "by grade": {f"{grade:g}": num for grade, num in sorted(Counter(j.grade for j in judgments).items())},
        "of products not in the catalog": len(missing),
    }


def _judged_files(config: IngestJudgmentsConfig, lake: Lake) -> tuple[list[JudgedQuery], list[Judgment]]:
    folder = config.folder or lake.current("market").path
    queries = read_queries(_rows(folder / config.queries.file, config.queries_file), config.queries, folder)
    judgment_rows = _rows(folder / config.judgments.file, config.judgments_file)
    return queries, read_judgments(judgment_rows, config.judgments, [query.query_id for query in queries])


def _titles(lake: Lake) -> dict[ProductId, str]:
    table = PRODUCTS.read(lake.current("products"), ["product_id", "title"])
    return dict(zip(table.column("product_id").to_pylist(), table.column("title").to_pylist(), strict=True))


def _rows(path: Path, shape: FileShape) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, value in read_raw_rows(path, shape):
        if isinstance(value, UnreadableRow):
            raise DataError(
                table=path.name, row=number, field="row", found=value.found, allowed="a readable row", fix=value.fix
            )
        yield number, value


def judged_set_files(config: IngestJudgmentsConfig) -> Sequence[Path]:
    """Both files, or the whole folder if the queries have images."""
    if config.folder is None or not config.has_files:
        return []
    if config.queries.image is not None:
        return [config.folder]
    return sorted({config.folder / config.queries.file, config.folder / config.judgments.file})


JOB = Job(
    name="ingest_judgments",
    summary="judged queries and grades -> the queries with their split, and the judgments",
    config=IngestJudgmentsConfig,
    reads=("products",),
    optional_reads=("market",),
    files=judged_set_files,
    writes=("queries", "judgments"),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
