"""Peak memory of `ingest_catalog` on a small and a large generated market: it must not grow with the catalog.

    python benchmarks/ingest_memory.py                          # 15,000 against 60,000 products
    python benchmarks/ingest_memory.py --small 500 --large 2000 # a quick run

The peak is that of the whole process tree (driver, Ray, workers), sampled every 0.2 s as proportional set size, which
counts shared pages once. Exit status 1 when the large run takes more than 1.3 times the memory of the small one.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from benchmarks.result_tables import add_json_option, write_rows

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "platform"), str(ROOT)]

ALLOWED_RATIO = 1.3
SAMPLE_EVERY_S = 0.2


@dataclass(frozen=True)
class Peak:
    """The largest sample of one run in bytes, and its duration."""

    num_products: int
    bytes: int
    duration_s: float


def main() -> int:
    """Run both, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=15_000, help="products of the small market")
    parser.add_argument("--large", type=int, default=60_000, help="products of the large market")
    parser.add_argument("--image-px", type=int, default=160, help="width and height of the images")
    parser.add_argument("--cpus", type=int, default=2, help="CPUs of the local Ray")
    parser.add_argument("--folder", type=Path, help="keep the markets here and reuse them; default: a temporary folder")
    add_json_option(parser)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ingest-memory-")))
        peaks = []
        for num in (options.small, options.large):
            market = folder / f"market-{num}-{options.image_px}"
            if not market.exists():
                generate(market, num, options.image_px)
            peaks.append(measure(market, num, options.cpus))
            print(
                f"{num:>8} products: peak {peaks[-1].bytes / 1e6:,.0f} MB in {peaks[-1].duration_s:.0f} s", flush=True
            )
    ratio = peaks[1].bytes / peaks[0].bytes
    print(f"ratio {ratio:.2f} (allowed {ALLOWED_RATIO})")
    write_rows(options.json, [{"name": f"{options.large:,} products against {options.small:,}", "ratio": ratio}])
    return int(ratio > ALLOWED_RATIO)


def generate(market: Path, num_products: int, image_px: int) -> None:
    """Generate a market without sessions."""
    from intarsia.simulator.config import MarketConfig
    from intarsia.simulator.market import write_market

    print(f"generating {num_products} products", flush=True)
    partial = market.with_name(market.name + ".part")
    partial.mkdir(parents=True)
    config = MarketConfig(num_products=num_products, num_queries=10, num_sessions=0, image_px=image_px)
    write_market(config, partial, lambda *_: None)
    partial.rename(market)


def measure(market: Path, num_products: int, cpus: int) -> Peak:
    """Run the job in its own process and sample its memory."""
    with tempfile.TemporaryDirectory(prefix="ingest-memory-lake-") as work:
        config = Path(work) / "config.yaml"
        job = {"mapping": str(ROOT / "pipelines" / "configs" / "market.mapping.yaml"), "folder": str(market)}
        config.write_text(
            yaml.safe_dump({"lake": f"{work}/lake", "session": {"num_cpus": cpus}, "ingest_catalog": job})
        )
        start_s, peak = time.monotonic(), 0
        command = [sys.executable, "-m", "pipelines.ingest_catalog", "--config", str(config)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as run:
            tree = psutil.Process(run.pid)
            while run.poll() is None:
                peak = max(peak, tree_bytes(tree))
                time.sleep(SAMPLE_EVERY_S)
        if run.returncode:
            raise SystemExit(f"the job ended with status {run.returncode}")
        return Peak(num_products, peak, time.monotonic() - start_s)


def tree_bytes(root: psutil.Process) -> int:
    """Proportional set size of a process and its descendants; processes that have ended count 0."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                total += process.memory_full_info().pss
    return total


if __name__ == "__main__":
    sys.exit(main())
