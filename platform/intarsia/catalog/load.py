"""Clean a raw catalog in this process: for notebooks, and to try a mapping before a run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.catalog.clean import CleanLimits
from intarsia.catalog.ingest import clean_catalog, serial_workers, write_products, write_rejects
from intarsia.catalog.mapping import load_mapping
from intarsia.lake import Lake
from intarsia.records.product import Product
from intarsia.tables.products import PRODUCTS, REJECTED_PRODUCTS, row_to_product


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedCatalog:
    """Result of `load_catalog`.

    Attributes:
        products: clean products, sorted by id.
        rejects: a row of `rejected_products` for each rejected row or value.
        num_rows: rows of the raw files; each is a product or has a reject with `dropped`.
    """

    products: list[Product]
    rejects: list[Mapping[str, Any]]
    num_rows: int


def load_catalog(source: str | Path, mapping: str | Path, *, folder: str | Path | None = None) -> LoadedCatalog:
    """Clean a raw catalog as the job `ingest_catalog` does, without Ray and without a lake.

    Args:
        source: products file (CSV, JSONL, Parquet), or a folder of them.
        mapping: YAML file with the column mapping.
        folder: folder to which image paths and joined files are relative; default: the folder of `source`.

    Raises:
        ConfigError: the mapping has an unknown key or a wrong value.
        DataError: the source has no rows, or a file cannot be read.

    Example:
        from intarsia import load_catalog

        catalog = load_catalog("shop/products.csv", "shop/mapping.yaml")
        print(len(catalog.products), "products,", len(catalog.rejects), "rejects")
    """
    source = Path(source)
    base = Path(folder) if folder is not None else (source if source.is_dir() else source.parent)
    with tempfile.TemporaryDirectory(prefix="intarsia-catalog-") as name:
        lake = Lake(Path(name))
        with lake.publish("products") as products, lake.publish("rejected_products") as rejected:
            staging = Path(name) / "staging"
            staging.mkdir()
            cleaned = clean_catalog(
                source, load_mapping(Path(mapping)), base, CleanLimits(), staging, serial_workers, _no_progress
            )
            write_rejects(cleaned, staging, rejected)
            write_products(cleaned, staging, products, serial_workers, _no_progress)
        batches = PRODUCTS.batches(lake.current("products"))
        clean = [row_to_product(row)[0] for batch in batches for row in batch.to_pylist()]
        rejects = REJECTED_PRODUCTS.read(lake.current("rejected_products")).to_pylist()
    return LoadedCatalog(products=clean, rejects=rejects, num_rows=cleaned.num_rows)


def _no_progress(step: str, num_done: int, num_total: int) -> None:
    pass
