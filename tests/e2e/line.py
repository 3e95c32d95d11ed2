"""The whole line on a small generated market, as a user runs it: by its commands, in processes of their own."""

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


def command(lake: Path, *more: str, config: Path = CONFIG) -> list[str]:
    """`full_run` of the small market into a lake."""
    return [sys.executable, "-m", "pipelines.full_run", "--config", str(config), f"lake={lake}", *SMALL, *more]


def run(arguments: Sequence[str], *, cwd: Path, timeout_s: float = 220, expect: int = 0) -> str:
    """What a command printed; fails with it when the exit status is another one."""
    done = subprocess.run(
        arguments, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == expect, (
        f"{' '.join(arguments)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout + done.stderr


def environment(**more: str) -> dict[str, str]:
    """This process's environment with one thread per library."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **more}
