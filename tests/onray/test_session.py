"""A local Ray, as its workers see it."""

from __future__ import annotations

import os

import ray


def test_the_running_ray_of_a_worker_is_the_one_that_started_it(cluster: None) -> None:
    @ray.remote
    def ray_address() -> str:
        return os.environ["RAY_ADDRESS"]

    port = ray.get_runtime_context().gcs_address.rpartition(":")[2]
    assert ray.get(ray_address.remote()) == f"127.0.0.1:{port}"
    assert "RAY_GCS_SERVER_PORT" not in os.environ
