"""Every benchmark in one run: `python -m benchmarks --lake LAKE [--quick]`; `make bench` calls it.

Each benchmark is also a command with its own options. They run one after another, because parallel runs would slow each
other down.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from intarsia.release.pointer import Pointer

ALL = {
    "query_encoding": ((), ()),
    "training": ((), ("--steps", "12", "--batch-size", "8", "--layers", "2")),
    "features_and_ranking": (("15000",), ("3000",)),
    "vector_search": ((), ("--num-vectors", "20000")),
    "ingest_speed": ((), ("--products", "600")),
    "ingest_memory": ((), ("--small", "500", "--large", "2000")),
}


_SHORT_FIT = ("--set", "adapter.kind=upper", "fit.epochs=1", "pairs.texts_per_anchor=4", "tower.max_tokens=24")
ON_A_LAKE = {
    "ablation": (_SHORT_FIT, ("--only", "InfoNCE", *_SHORT_FIT)),
    "alignment": ((), ("--epochs", "1")),
    "compression": ((), ("--quick",)),
    "http_serving": ((), ()),
}
"""Benchmarks that need a lake with a live release."""
ON_A_MARKET = {"unnamed_colours": ((), ())}
"""Benchmarks that also need the ground truth of a generated market."""


def main() -> int:
    """Run all benchmarks; the exit status is 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--lake", required=True, type=Path, help=f"a lake with a live release, for {', '.join(ON_A_LAKE)}"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that everything runs")
    options = parser.parse_args()
    commands = {name: list(quick if options.quick else full) for name, (full, quick) in ALL.items()}
    failed = []
    if Pointer(options.lake / "releases").live() is None:
        print(
            f"skipped: {', '.join(ON_A_LAKE)}; no release is live in {options.lake}. Fix: pass another lake with --lake"
        )
    else:
        on_lake = ON_A_LAKE | (ON_A_MARKET if (options.lake / "market").is_dir() else {})
        for name, (full, quick) in on_lake.items():
            commands[name] = ["--lake", str(options.lake), *(quick if options.quick else full)]
    for name, arguments in commands.items():
        print(f"\n== python -m benchmarks.{name} {' '.join(arguments)}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=False).returncode != 0:
            failed.append(name)
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall succeeded")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
