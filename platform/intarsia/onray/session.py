"""Starts a local Ray, or connects to a cluster, for the jobs of a process."""

from __future__ import annotations

import logging
import os
import socket
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from intarsia.config import check_range, setting

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",  # a switch, not a number
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """Which Ray the jobs run on."""

    address: str = setting(
        "`local` starts a Ray and stops it at the end; `auto`, or an address, connects to a running cluster, as a "
        "submitted job always does",
        "local",
    )
    num_cpus: int | None = setting("CPUs of a local Ray; default: all CPUs of the machine", None)
    object_store_mb: int = setting("shared memory of a local Ray in MB; 0: Ray's own default", 512, advanced=True)

    def __post_init__(self) -> None:
        if self.num_cpus is not None:
            check_range(self, "num_cpus", low=1)


_owned = False


def owns_ray() -> bool:
    """Whether this process started the Ray that it uses. The resources of such a Ray never grow."""
    return _owned


@contextmanager
def _gcs_port() -> Iterator[int]:
    """Yield a free port for the control service (GCS) of the Ray that is started in the block.

    It is chosen here so that it can be passed to the workers. Without it, code in a worker that looks for the running
    Ray (each fit of Ray Train does so when it ends) reads /tmp/ray/ray_current_cluster, which may name another or a
    killed Ray, and waits 12 s for it.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    before = os.environ.get("RAY_GCS_SERVER_PORT")
    os.environ["RAY_GCS_SERVER_PORT"] = str(port)
    try:
        yield port
    finally:
        del os.environ["RAY_GCS_SERVER_PORT"]  # processes started by this one must not use it
        if before is not None:
            os.environ["RAY_GCS_SERVER_PORT"] = before


@contextmanager
def ray_session(config: SessionConfig) -> Iterator[None]:
    """Run the block with Ray; a Ray that this process has already initialised is used and left running."""
    global _owned
    if ray.is_initialized():
        yield
        return
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:  # set by `ray job submit` for its entry point
        ray.init(
            address="auto", log_to_driver=False, logging_level=logging.WARNING, runtime_env={"env_vars": ONE_THREAD}
        )
    elif config.address == "local":
        # this machine is not preemptible, so no fit needs the process that watches for preemption
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        with _gcs_port() as port:
            ray.init(
                address="local",
                num_cpus=config.num_cpus,
                object_store_memory=config.object_store_mb * 1_000_000 or None,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
                runtime_env={"env_vars": {**ONE_THREAD, "RAY_ADDRESS": f"127.0.0.1:{port}"}},
            )
        _owned = True
    else:
        ray.init(
            address=config.address,
            log_to_driver=False,
            logging_level=logging.WARNING,
            runtime_env={"env_vars": ONE_THREAD},
        )
    ray.data.DataContext.get_current().enable_progress_bars = False  # jobs print their own progress
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # it logs four lines per dataset
    try:
        yield
    except BaseException as error:
        # a partly read dataset in a frame of the traceback would be closed after Ray stopped, and wait forever
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        ray.shutdown()
        _owned = False
