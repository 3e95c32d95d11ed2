"""The small shop over HTTP: in this process (no Ray), and as a served graph in both topologies."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from intarsia.lake import Lake
from intarsia.release.manifest import Manifest
from serve_apps.app import open_api
from serve_apps.service.ingress_release import IngressRelease, release_loader
from serve_apps.service.release_cache import ReleaseCache
from serve_apps.settings import Budgets, Replicas, ServingConfig, Topology
from tests.shop import small_shop

PATIENT = Budgets(
    thread_ms=30_000,
    text_encoder_ms=30_000,
    image_encoder_ms=30_000,
    retriever_ms=30_000,
    fuser_ms=30_000,
    ranker_ms=30_000,
    explain_ms=30_000,
    release_ms=30_000,
)
"""So that a busy machine does not degrade a reply."""

GRAPHS: dict[str, tuple[Topology, Replicas]] = {
    "fused": ("fused", Replicas(num_cpus=0.1)),
    "composed": ("composed", Replicas(num_cpus=0.1, fuser=1)),
}
_FRONTS: dict[Path, IngressRelease] = {}


@pytest.fixture(scope="session")
def shop() -> Lake:
    """A lake with one live release."""
    return small_shop()


@pytest.fixture(scope="session")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the feedback of all served applications goes."""
    return tmp_path_factory.mktemp("journal")


def open_front(folder: Path, manifest: Manifest) -> IngressRelease:
    """The front with its stages, opened once per release and test process: nothing changes it."""
    if folder not in _FRONTS:
        _FRONTS[folder] = release_loader(ServingConfig(lake=folder))(folder, manifest)
    return _FRONTS[folder]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all served applications log what they answer."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="session")
def front(shop: Lake) -> ReleaseCache[IngressRelease]:
    """The live release of the shop, open."""
    return ReleaseCache(ServingConfig(lake=shop.root, follow_s=0.0), open_front)


@pytest.fixture(scope="session")
def api(shop: Lake, journal: Path, served: Path, front: ReleaseCache[IngressRelease]) -> FastAPI:
    """The fused application of the shop, in this process."""
    config = ServingConfig(lake=shop.root, journal=journal, served=served, budgets=PATIENT, follow_s=0.0)
    return open_api(config, held=front)


@pytest.fixture
def http(api: FastAPI) -> Iterator[TestClient]:
    """A client of `api`; an error of ours is raised in the test."""
    with TestClient(api) as client:
        yield client


@dataclass(frozen=True)
class Graph:
    """Two topologies of one release behind one HTTP port."""

    fused: httpx.Client
    composed: httpx.Client


@pytest.fixture(scope="session")
def graph(cluster: None, shop: Lake, journal: Path, served: Path) -> Iterator[Graph]:
    """Both topologies on the shared cluster."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray Serve declares its own models in pydantic's older way
        from ray import serve

        from serve_apps.deployments.graph import bind

        serve.start(http_options={"host": "127.0.0.1", "port": port})
        for name, (topology, replicas) in GRAPHS.items():
            config = ServingConfig(
                lake=shop.root,
                topology=topology,
                journal=journal,
                served=served,
                budgets=PATIENT,
                follow_s=0.0,
                replicas=replicas,
            )
            serve.run(bind(config), name=name, route_prefix=f"/{name}")
    fused, composed = (httpx.Client(base_url=f"http://127.0.0.1:{port}/{name}", timeout=60) for name in GRAPHS)
    with fused, composed:
        yield Graph(fused=fused, composed=composed)
    serve.shutdown()
