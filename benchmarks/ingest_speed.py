"""Ingest with Ray Data on two CPUs, compared with a single process on the same input.

    python benchmarks/ingest_speed.py                       # a generated market of 3,000 products
    python benchmarks/ingest_speed.py --products 20000
    python benchmarks/ingest_speed.py --folder DATA --mapping MAPPING.yaml --file products.jsonl

The start of Ray (some seconds per session) is reported separately, since all jobs of a run share it. Exit status 1 when
the results differ.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy is loaded


def main() -> int:
    """Run both, each once, after reading all files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=3000, help="products of the generated market")
    parser.add_argument("--folder", type=Path, help="data folder; default: a generated market")
    parser.add_argument("--mapping", type=Path, default=ROOT / "pipelines" / "configs" / "market.mapping.yaml")
    parser.add_argument("--file", default="products.jsonl", help="products file in the folder")
    parser.add_argument("--cpus", type=int, default=2)
    options = parser.parse_args()

    from intarsia.catalog.ingest import serial_workers
    from intarsia.onray.session import SessionConfig, ray_session
    from intarsia.onray.workers import RayWorkers

    with tempfile.TemporaryDirectory(prefix="ingest-speed-") as work:
        folder = options.folder or generated(Path(work) / "market", options.products)

        def ingest(name: str, workers: object) -> tuple[float, str, int]:
            return timed(Path(work) / name, folder, options.file, options.mapping, workers)

        warm_up(folder)
        single_s, single_digest, num_rows = ingest("single", serial_workers)
        start_s = time.monotonic()
        with ray_session(SessionConfig(num_cpus=options.cpus)):
            ray_start_s = time.monotonic() - start_s
            ray_s, ray_digest, _ = ingest("ray", RayWorkers())
    print(f"rows                    {num_rows}")
    print(f"single process          {single_s:6.1f} s  {num_rows / single_s:7.0f} rows/s")
    print(
        f"Ray Data on {options.cpus} CPUs      {ray_s:6.1f} s  {num_rows / ray_s:7.0f} rows/s  "
        f"(Ray started in {ray_start_s:.1f} s)"
    )
    print(f"speed-up                {single_s / ray_s:6.2f}")
    print(f"same bytes              {'yes' if single_digest == ray_digest else 'NO'}")
    return int(single_digest != ray_digest)


def generated(folder: Path, num_products: int) -> Path:
    """Generate a market without sessions."""
    from intarsia.simulator.config import MarketConfig
    from intarsia.simulator.market import write_market

    folder.mkdir()
    write_market(MarketConfig(num_products=num_products, num_queries=10, num_sessions=0), folder, lambda *_: None)
    return folder


def warm_up(folder: Path) -> None:
    """Read every file once, so that both runs read from the page cache."""
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            path.read_bytes()


def timed(out: Path, folder: Path, file: str, mapping: Path, workers: object) -> tuple[float, str, int]:
    """(seconds, digest of the products, input rows) of one ingest."""
    from intarsia.catalog.clean import CleanLimits
    from intarsia.catalog.ingest import clean_catalog, serial_workers, write_products
    from intarsia.catalog.mapping import load_mapping
    from intarsia.ids import sha256_tree

    def no_progress(step: str, done: int, total: int) -> None:
        pass

    staging, products = out / "staging", out / "products"
    for path in (staging, products):
        path.mkdir(parents=True)
    start_s = time.monotonic()
    cleaned = clean_catalog(
        folder / file,
        load_mapping(mapping),
        folder,
        CleanLimits(),
        staging,
        workers,  # type: ignore[arg-type]
        no_progress,
    )
    write_products(cleaned, staging, products, serial_workers, no_progress)
    duration_s = time.monotonic() - start_s
    digest = sha256_tree(products)
    shutil.rmtree(out)
    return duration_s, digest, cleaned.num_rows


if __name__ == "__main__":
    sys.exit(main())
