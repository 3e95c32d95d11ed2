"""Fixtures and hooks of all tests.

A test gets markers from its folder, see `MARKERS`: `pytest -m ray` runs one kind of test, `pytest -m "not slow"` the
fast ones.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy is loaded
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from intarsia.lake import Lake

# no deadline per example: a busy machine is not an error, and pytest-timeout ends a test that hangs
settings.register_profile("intarsia", deadline=None)
settings.load_profile("intarsia")

MARKERS = {
    "e2e": ("slow",),
    "e2e/test_page.py": ("browser",),
    "fault": ("ray", "slow"),
    "onray": ("ray", "slow"),
    "real": ("ray", "real", "slow"),
    "serve": ("serve", "slow"),
}
"""Markers of the tests in a folder, or a file, of tests/."""

PROCESS_GROUPS = {"onray": "ray", "real": "ray", "fault": "fault", "serve": "serve"}

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20_260)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(tmp_path / "lake")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, beside the checkout; tests that use it are skipped if it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data is not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """One local Ray for all tests of the process: 4 logical CPUs, whatever the machine has."""
    from intarsia.onray.session import SessionConfig, ray_session

    with ray_session(SessionConfig(num_cpus=4, object_store_mb=512)):
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--max-skips", type=int, help="fail if more tests than this are skipped")


def relative_path(path: Path) -> tuple[str, ...]:
    """Folders and file name of a test file below tests/."""
    return path.relative_to(Path(__file__).parent).parts


def process_group_of(nodeid: str) -> str:
    """Tests of a group run in one xdist process, as they share a Ray or a served graph; others are grouped by file."""
    file = nodeid.partition("::")[0]
    return PROCESS_GROUPS.get(Path(file).parts[1], file)


class GroupScheduling(LoadScopeScheduling):
    """Gives each process one group of tests after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return process_group_of(nodeid)


@pytest.hookimpl(tryfirst=True)  # before `-m` selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder, *_, file = relative_path(item.path)
        for marker in (*MARKERS.get(folder, ()), *MARKERS.get(f"{folder}/{file}", ())):
            item.add_marker(marker)
    items.sort(key=lambda item: process_group_of(item.nodeid) != "ray")  # start the longest group first


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return GroupScheduling(config, log)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    max_skips = session.config.getoption("--max-skips")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if max_skips is None or reporter is None:
        return
    num_skipped = len(reporter.stats.get("skipped", []))
    if num_skipped > max_skips and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"{num_skipped} tests were skipped; allowed: {max_skips}; the reasons are above", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
