"""Starts a Ray cluster of one node, and submits jobs to it."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.e2e.line import ROOT, environment
from tests.killed_process import kill_session

RAY = str(Path(sys.executable).with_name("ray"))


@dataclass(frozen=True)
class Head:
    """A running cluster of one node."""

    dashboard: str
    environment: dict[str, str]


def submit(head: Head, entry: Sequence[str], *, cwd: Path) -> str:
    """Submit a command with this repository and return the output; retried until the agent of the head has started."""
    command = [RAY, "job", "submit", "--address", head.dashboard, "--working-dir", str(ROOT), "--", *entry]
    deadline = time.monotonic() + 90
    while True:
        completed = subprocess.run(
            command, cwd=cwd, env=head.environment, capture_output=True, text=True, timeout=400, check=False
        )
        if "No available agent to submit job" not in completed.stderr or time.monotonic() > deadline:
            assert completed.returncode == 0, (
                f"{' '.join(command)} ended with {completed.returncode}\n{completed.stdout}\n{completed.stderr}"
            )
            return completed.stdout


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running_head() -> Iterator[Head]:
    """Run `ray start --head` on free ports and in a temporary folder; it is killed at the end."""
    port = free_port()
    # in /tmp, because paths of sockets are short; a killed head may still write while the folder is removed
    with TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        env = environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_TMPDIR=folder)
        yield from _started(port, env)


def _started(port: int, env: dict[str, str]) -> Iterator[Head]:
    arguments = ["start", "--head", "--block", f"--port={free_port()}", "--node-ip-address=127.0.0.1", "--num-cpus=3"]
    arguments += ["--dashboard-host=127.0.0.1", f"--dashboard-port={port}", "--object-store-memory=300000000"]
    # another Ray of this machine may still use the default port of the agent, which accepts the jobs
    arguments += [f"--dashboard-agent-listen-port={free_port()}"]
    with subprocess.Popen(
        [RAY, *arguments], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as started:
        try:
            wait_until_up(f"http://127.0.0.1:{port}/api/version", started, env["RAY_AUTH_TOKEN"])
            yield Head(dashboard=f"http://127.0.0.1:{port}", environment=env)
        finally:
            kill_session(started)


def wait_until_up(url: str, started: subprocess.Popen[bytes], token: str) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert started.poll() is None, "ray start ended"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=2
            ):
                return
        except OSError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(timeout=0.2)
    raise AssertionError(f"{url} did not answer")
