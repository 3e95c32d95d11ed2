"""raw products -> `products` and `rejected_products`: read any CSV, JSONL or Parquet through a mapping, clean it, account for every row."""

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

_MIN_PARTS = 64  # a part of 1,024 products is written in 0.1 s: below 65,000 products other processes do not pay


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestCatalogConfig:
    """Where the raw catalog lies and how strict we are."""

    mapping: Path = setting("mapping file: which column is what; see examples/")
    folder: Path | None = setting("the data's folder; nothing: the generated market of the lake", None)
    products: str = setting("products file, or folder of them, in `folder`", "products.jsonl")
    limits: CleanLimits = setting("longest texts", factory=CleanLimits)
    max_rejected_share: float = setting("share of dropped rows above which the job stops, 0 to 1", 0.05)
    split_rows: int = setting("rows that a worker takes at a time; a Parquet file is taken by row groups", 256)
    num_workers: int = setting("worker processes; 0: one per CPU", 0)

    def __post_init__(self) -> None:
        check_range(self, "max_rejected_share", low=0, high=1)
        check_range(self, "split_rows", low=1)
        check_range(self, "num_workers", low=0)


def run(config: IngestCatalogConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Raw products -> products, rejected_products.

    The rejected rows are published even when the job stops because they are too many, so that they can be read; `products` then stays as
    it was.
    """
    mapping = load_mapping(config.mapping)
    folder = config.folder or lake.current("market").path
    workers = RayWorkers(num_workers=config.num_workers)
    with lake.publish("products") as products_folder:
        scratch = products_folder / "scratch"
        scratch.mkdir()
        cleaned = clean_catalog(
            folder / config.products,
            mapping,
            folder,
            config.limits,
            scratch,
            workers,
            progress,
            split_rows=config.split_rows,
        )
        with lake.publish("rejected_products") as rejected_folder:
            num_rejects = write_rejects(cleaned, scratch, rejected_folder)
        rejected_at = str(lake.current("rejected_products").path)
        check_dropped_share(
            cleaned.num_rows, cleaned.dropped, config.max_rejected_share, table="products", rejected_at=rejected_at
        )
        writers = RayWorkers(num_workers=config.num_workers, min_items=_MIN_PARTS)
        num_products = write_products(cleaned, scratch, products_folder, writers, progress)
        shutil.rmtree(scratch)
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
    """The mapping, and the whole data folder: pictures and side files are input too."""
    return [config.mapping, config.folder] if config.folder else [config.mapping]


JOB = Job(
    name="ingest_catalog",
    summary="raw products through a mapping file -> clean products, and every refused row with its reason",
    config=IngestCatalogConfig,
    optional_reads=("market",),
    files=files,
    writes=("rejected_products", "products"),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
