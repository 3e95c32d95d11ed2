"""`make serve` says what is wrong before it starts Ray."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from intarsia.errors import ConfigError
from serve_apps import environment
from serve_apps.environment import is_free
from serve_apps.run import _wait_until_ready, main

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The command takes over Ctrl-C; the test session wants it back."""
    kept = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    yield
    for name, handler in kept.items():
        signal.signal(name, handler)


def test_a_taken_port_is_told_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        assert main(["--lake", str(tmp_path), "--port", str(port)]) == 1
    assert f"port {port} of 127.0.0.1 is taken; give a free one with --port" in capsys.readouterr().err


def test_a_taken_port_is_told_before_the_demo_begins(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert environment.main([str(port)]) == 1
    assert capsys.readouterr().err == f"port {port} of 127.0.0.1 is taken; give a free one: make demo PORT=8001\n"
    assert environment.main([str(port)]) == 0


def test_a_server_that_never_gets_ready_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # nobody listens: every connection is refused
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"{url}/readyz does not say yes after 0 s"):
            _wait_until_ready(url, 0.1)


def test_without_a_live_release_it_says_which_job_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lake", str(tmp_path), "--port", "0"]) == 1
    assert "no release is live" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "words"),
    [("budgets.ranker_ms", "is not key=value"), ("budget.ranker_ms=4", "did you mean budgets")],
)
def test_a_wrong_setting_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, words: str) -> None:
    assert main(["--lake", str(tmp_path), setting]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_the_flags_of_serve_are_set_before_ray_is_imported() -> None:
    code = (
        "import sys, os; from serve_apps import run, environment; assert 'ray' not in sys.modules;"
        "environment.set_local_serve_environment();"
        "print(os.environ['RAY_SERVE_THROUGHPUT_OPTIMIZED'], os.environ['RAY_SERVE_ENABLE_HA_PROXY'])"
    )
    environment = {"PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", "PATH": "/usr/bin:/bin"}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["1", "1"]
