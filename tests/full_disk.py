"""Runs a script as if the disk were full: no file may grow beyond a limit.

It runs in a subprocess, because Ray ends a process that cannot write its log.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_on_a_full_disk(script: str, *arguments: str, num_bytes: int) -> str:
    """Run a Python script with the repository on its path and return its output; fails if the script fails."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))

    completed = subprocess.run(
        [
            sys.executable,
            "-B",
            "-c",
            f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'platform')!r}]\n{script}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
        timeout=120,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout
