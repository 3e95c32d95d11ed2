"""`serve_apps.run`: errors before Ray is started, and the help."""

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
    """Restore the signal handlers that the command replaces."""
    kept = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    yield
    for name, handler in kept.items():
        signal.signal(name, handler)


def test_a_port_in_use_is_reported_with_the_fix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        assert main(["--lake", str(tmp_path), "--port", str(port)]) == 1
    assert f"port {port} of 127.0.0.1 is in use. Fix: give a free one with --port" in capsys.readouterr().err


def test_a_port_in_use_is_reported_before_the_demo_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert environment.main([str(port)]) == 1
    assert (
        capsys.readouterr().err
        == f"port {port} of 127.0.0.1 is in use. Fix: give a free one, e.g. make demo PORT=8001\n"
    )
    assert environment.main([str(port)]) == 0


def test_waiting_for_a_server_that_never_gets_ready_ends() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # nobody listens: every connection is refused
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"{url}/readyz is not ready after 0 s"):
            _wait_until_ready(url, 0.1)


def test_without_a_live_release_the_job_to_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free_later:
        port = free_later.getsockname()[1]
    assert main(["--lake", str(tmp_path), "--port", str(port)]) == 1
    assert "no release is live" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [("budgets.ranker_ms", "is not key=value"), ("budget.ranker_ms=4", "did you mean budgets")],
)
def test_a_wrong_setting_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, message: str
) -> None:
    assert main(["--lake", str(tmp_path), setting]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_flags_of_serve_are_set_before_ray_is_imported() -> None:
    code = (
        "import sys, os; from serve_apps import run, environment; assert 'ray' not in sys.modules;"
        "environment.set_local_serve_environment();"
        "print(os.environ['RAY_SERVE_THROUGHPUT_OPTIMIZED'], os.environ['RAY_SERVE_ENABLE_HA_PROXY'])"
    )
    environment = {"PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", "PATH": "/usr/bin:/bin"}
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert finished.stdout.split() == ["1", "1"]


@pytest.mark.parametrize(("flag", "is_advanced_shown"), [("--help", False), ("--help-all", True)])
def test_help_shows_the_usual_settings_and_help_all_the_rest(
    capsys: pytest.CaptureFixture[str], flag: str, is_advanced_shown: bool
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([flag])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "ranker_ms: int = 500" in text
    assert ("stage_threads: int = 2" in text) == is_advanced_shown


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_a_number_that_is_no_port_is_refused(port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"ConfigError: port is {port}; allowed: 1 to 65535. Fix: give another one with --port\n"
    assert main(["--lake", str(tmp_path), "--port", port]) == 1
    assert capsys.readouterr().err == words
    assert environment.main([port]) == 1
    assert capsys.readouterr().err == words
