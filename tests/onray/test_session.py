"""The Ray that a process starts for itself, as its workers see it."""

from __future__ import annotations

import os

import ray


def test_who_asks_a_worker_for_the_running_ray_is_told_of_its_own(cluster: None) -> None:
    @ray.remote
    def told() -> str:
        return os.environ["RAY_ADDRESS"]

    port = ray.get_runtime_context().gcs_address.rpartition(":")[2]
    assert ray.get(told.remote()) == f"127.0.0.1:{port}"
    assert "RAY_GCS_SERVER_PORT" not in os.environ
