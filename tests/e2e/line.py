"""Commands that run the whole pipeline on a small generated market, in subprocesses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from pipelines.jobs import JOB_NAMES

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "pipelines" / "configs" / "small.yaml"
JOBS = [name for name in JOB_NAMES if name in yaml.safe_load(CONFIG.read_text(encoding="utf-8"))]
SMALL = (
    "generate_market.num_products=240",
    "generate_market.num_queries=120",
    "generate_market.num_sessions=150",
    "align_modalities.min_steps=60",
    "search_fusion.num_trials=8",
    "search_fusion.space.settings={gated: {joint: {num_steps: 60, measure_every: 20}}}",
    "train_ranker.model.num_rounds=40",
    "session.num_cpus=3",
)


def command(lake: Path, *overrides: str, config: Path = CONFIG) -> list[str]:
    """The command that runs `full_run` with a small market and a lake."""
    return [sys.executable, "-m", "pipelines.full_run", "--config", str(config), f"lake={lake}", *SMALL, *overrides]


def run(arguments: Sequence[str], *, cwd: Path, timeout_s: float = 220, expect: int = 0) -> str:
    """Run a command and return its output; fails if its exit status is not `expect`."""
    completed = subprocess.run(
        arguments, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert completed.returncode == expect, (
        f"{' '.join(arguments)} ended with {completed.returncode}\n{completed.stdout}\n{completed.stderr}"
    )
    return completed.stdout + completed.stderr


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with one thread per library."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **variables}
