"""Fixtures of all tests: seeded randomness, one thread for every library, a lake of its own, and one shared Ray for those that need it."""

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

# a busy machine is no wrong answer; pytest-timeout ends what hangs
settings.register_profile("intarsia", deadline=None)
settings.load_profile("intarsia")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def rng() -> np.random.Generator:
    """Randomness that is the same in every run."""
    return np.random.default_rng(20_260)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(tmp_path / "lake")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, beside the checkout; tests that need it are skipped, by this name, where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data is not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """One Ray for the whole session: 4 logical CPUs on whatever is there."""
    from intarsia.onray.session import SessionConfig, ray_session

    with ray_session(SessionConfig(num_cpus=4, object_store_mb=512)):
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--max-skips", type=int, help="fail when more tests than this were skipped; CI knows what it has")


def room_of(nodeid: str) -> str:
    """What stays in one process of a run of several: tests that share a Ray, those that share a served graph, and every other file."""
    file = nodeid.partition("::")[0]
    room = Path(file).parts[1]
    return {"onray": "ray", "real": "ray", "fault": "fault", "serve": "serve"}.get(room, file)


class Rooms(LoadScopeScheduling):
    """One room after the other to whoever is free."""

    def _split_scope(self, nodeid: str) -> str:
        return room_of(nodeid)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: room_of(item.nodeid) != "ray")  # the longest room first, small ones fill what is left


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return Rooms(config, log)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    most = session.config.getoption("--max-skips")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if most is None or reporter is None:
        return
    num_skipped = len(reporter.stats.get("skipped", []))
    if num_skipped > most and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(f"{num_skipped} tests were skipped, {most} may be: see their reasons above", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
