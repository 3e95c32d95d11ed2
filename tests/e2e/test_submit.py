"""`ray job submit` against a running local cluster: the same command as on a laptop."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from intarsia.release.bundle import verify
from intarsia.release.pointer import Pointer
from tests.e2e.line import ROOT, SMALL, environment

pytestmark = pytest.mark.timeout(480)

RAY = str(Path(sys.executable).with_name("ray"))


@dataclass(frozen=True)
class Head:
    """A running cluster of one node."""

    dashboard: str
    environment: dict[str, str]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def head() -> Iterator[Head]:
    """`ray start --head` on ports of its own, ended by its process group."""
    port = free_port()
    env = environment(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    arguments = ["start", "--head", "--block", f"--port={free_port()}", "--node-ip-address=127.0.0.1", "--num-cpus=3"]
    arguments += ["--dashboard-host=127.0.0.1", f"--dashboard-port={port}", "--object-store-memory=300000000"]
    with subprocess.Popen(
        [RAY, *arguments], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as started:
        try:
            wait_until_up(f"http://127.0.0.1:{port}/api/version", started, env["RAY_AUTH_TOKEN"])
            yield Head(dashboard=f"http://127.0.0.1:{port}", environment=env)
        finally:
            os.killpg(started.pid, signal.SIGKILL)  # the head and all it started; nothing of it is needed any more


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
                started.wait(timeout=0.2)  # it tells nothing before it listens
    raise AssertionError(f"{url} did not answer")


def test_a_submitted_run_fills_the_lake(head: Head, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    entry = ["-m", "pipelines.full_run", "--config", "pipelines/configs/small.yaml", f"lake={lake}"]
    submitted = subprocess.run(
        [RAY, "job", "submit", "--address", head.dashboard, "--working-dir", str(ROOT), "--"]
        + [sys.executable, *entry, *SMALL],
        env=head.environment,
        capture_output=True,
        text=True,
        timeout=360,
        check=False,
    )
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert "succeeded" in submitted.stdout
    live = Pointer(lake / "releases").live()
    assert live is not None
    assert verify(lake / "releases" / live).num_products > 0
