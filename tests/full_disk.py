"""A process whose disk is full: no file of it may grow beyond a limit. Never this process: Ray ends it when it cannot write its log."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_on_a_full_disk(script: str, *arguments: str, num_bytes: int) -> str:
    """What a Python script printed, run with the repository on its path; fails with its traceback when it fails."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))

    done = subprocess.run(
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
    assert done.returncode == 0, done.stderr
    return done.stdout
