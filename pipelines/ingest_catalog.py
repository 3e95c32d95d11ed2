"""Raw products (CSV, JSONL or Parquet, read through a mapping) -> products and rejected_products."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from intarsia.catalog.clean import CleanLimits
from intarsia.catalog.ingest import clean_catalog, write_products, write_rejects
from intarsia.catalog.mapping import load_mapping
from intarsia.catalog.rejects import check_dropped_share
from intarsia.config import check_range, setting
from intarsia.lake import Lake
from intarsia.onray.workers import RayWorkers
from pipelines.job import Counts, Job, JobProgress, main

# writing a part of 1,024 products takes 0.1 s: with fewer than 65,000 products, starting processes costs more
_MIN_PARTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestCatalogConfig:
    """Location of the raw catalog, and how many rejected rows are allowed."""

    mapping: Path = setting("mapping file: the meaning of each column; see examples/")
    folder: Path | None = setting("folder of the data; default: the generated market of the lake", None)
    products: str = setting("file of products, or folder of such files, in `folder`", "products.jsonl")
    limits: CleanLimits = setting("maximum lengths of texts", factory=CleanLimits, advanced=True)
    max_rejected_share: float = setting("stop if a larger share of the rows is dropped, 0 to 1", 0.05)
    split_rows: int = setting("rows per work item; of Parquet files, a row group", 256, advanced=True)
    num_workers: int = setting("worker processes; 0: one per CPU", 0, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "max_rejected_share", low=0, high=1)
        check_range(self, "split_rows", low=1)
        check_range(self, "num_workers", low=0)


def run(config: IngestCatalogConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Clean the catalog and publish products and rejected_products.

    If too many rows are rejected, the job stops with an error. rejected_products is published even then, products is
    not.
    """
    mapping = load_mapping(config.mapping)
    folder = config.folder or lake.current("market").path
    workers = RayWorkers(num_workers=config.num_workers)
    with lake.publish("products") as products_folder:
        staging = products_folder / "staging"
        staging.mkdir()
        cleaned = clean_catalog(
            folder / config.products,
            mapping,
            folder,
            config.limits,
            staging,
            workers,
            progress,
            split_rows=config.split_rows,
        )
        with lake.publish("rejected_products") as rejected_folder:
            num_rejects = write_rejects(cleaned, staging, rejected_folder)
        rejected_at = str(lake.current("rejected_products").path)
        check_dropped_share(
            cleaned.num_rows, cleaned.dropped, config.max_rejected_share, table="products", rejected_at=rejected_at
        )
        writers = RayWorkers(num_workers=config.num_workers, min_items=_MIN_PARTS)
        num_products = write_products(cleaned, staging, products_folder, writers, progress)
        shutil.rmtree(staging)
    return {
        "rows": cleaned.num_rows,
        "products": num_products,
        "dropped": cleaned.dropped.total(),
        "images": cleaned.resolution.num_images,
        "in duplicate groups": cleaned.resolution.num_grouped,
        "rejects": num_rejects,
        "dropped by reason": dict(sorted(cleaned.dropped.items())),
        "left out by reason": dict(sorted(cleaned.left_out.items())),
    }


def files(config: IngestCatalogConfig) -> Sequence[Path]:
    """The mapping, and the whole data folder, because images and joined files are input too."""
    return [config.mapping, config.folder] if config.folder else [config.mapping]


JOB = Job(
    name="ingest_catalog",
    summary="raw products, read through a mapping file -> clean products, and every rejected row with its reason",
    config=IngestCatalogConfig,
    optional_reads=("market",),
    files=files,
    writes=("rejected_products", "products"),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
