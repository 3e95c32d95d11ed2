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
from serve_apps.service.releases import IngressRelease, ReleaseCache, release_loader
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
"""Budgets that a busy machine does not exceed."""

GRAPHS: dict[str, tuple[Topology, Replicas]] = {
    "fused": ("fused", Replicas(num_cpus=0.1)),
    "composed": ("composed", Replicas(num_cpus=0.1, fuser=1)),
}
_OPEN_RELEASES: dict[Path, IngressRelease] = {}


@pytest.fixture(scope="session")
def shop() -> Lake:
    """A lake with one live release."""
    return small_shop()


@pytest.fixture(scope="session")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Journal folder of all served applications."""
    return tmp_path_factory.mktemp("journal")


def open_ingress_release(folder: Path, manifest: Manifest) -> IngressRelease:
    """Open a release with its engine, once per test process; nothing changes it."""
    if folder not in _OPEN_RELEASES:
        _OPEN_RELEASES[folder] = release_loader(ServingConfig(lake=folder))(folder, manifest)
    return _OPEN_RELEASES[folder]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the served log of all applications."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="session")
def releases(shop: Lake) -> ReleaseCache[IngressRelease]:
    """The live release of the shop, open."""
    return ReleaseCache(ServingConfig(lake=shop.root, refresh_s=0.0), open_ingress_release)


@pytest.fixture(scope="session")
def api(shop: Lake, journal: Path, served: Path, releases: ReleaseCache[IngressRelease]) -> FastAPI:
    """The fused application of the shop, in this process."""
    config = ServingConfig(lake=shop.root, journal=journal, served=served, budgets=PATIENT, refresh_s=0.0)
    return open_api(config, releases=releases)


@pytest.fixture
def http(api: FastAPI) -> Iterator[TestClient]:
    """A client of `api`; an internal error is raised in the test."""
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
                refresh_s=0.0,
                replicas=replicas,
            )
            serve.run(bind(config), name=name, route_prefix=f"/{name}")
    fused, composed = (httpx.Client(base_url=f"http://127.0.0.1:{port}/{name}", timeout=60) for name in GRAPHS)
    with fused, composed:
        yield Graph(fused=fused, composed=composed)
    serve.shutdown()
