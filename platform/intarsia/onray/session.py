"""One Ray session for a process: a cluster of its own, or the one it was submitted to."""

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
    """Where the jobs run."""

    address: str = setting(
        "`local` starts a Ray of its own and stops it at the end; `auto` joins the running cluster; a submitted job always does",
        "local",
    )
    num_cpus: int | None = setting("CPUs of a local Ray; nothing means all of the machine's", None)
    object_store_mb: int = setting("shared memory of a local Ray, MB; 0 leaves it to Ray", 512)

    def __post_init__(self) -> None:
        if self.num_cpus is not None:
            check_range(self, "num_cpus", low=1)


_owned = False


def owns_ray() -> bool:
    """Whether this process started the Ray it uses: such a Ray has what the machine has, and never grows."""
    return _owned


@contextmanager
def _port_of_gcs() -> Iterator[int]:
    """A free port for the control service of the Ray that is started in the block.

    It is chosen here so that workers can be told it. What asks for "the running Ray" inside of them, as each fit of Ray Train does while it
    ends, else finds the one of /tmp/ray/ray_current_cluster: another's, or one that was killed, and waits 12 s for its answer.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    before = os.environ.get("RAY_GCS_SERVER_PORT")
    os.environ["RAY_GCS_SERVER_PORT"] = str(port)
    try:
        yield port
    finally:
        del os.environ["RAY_GCS_SERVER_PORT"]  # it is not for the processes that this one starts
        if before is not None:
            os.environ["RAY_GCS_SERVER_PORT"] = before


@contextmanager
def ray_session(config: SessionConfig) -> Iterator[None]:
    """Ray for the length of the block; a session that already runs in this process is used and left running."""
    global _owned
    if ray.is_initialized():
        yield
        return
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:  # set by `ray job submit` for its entry point
        ray.init(
            address="auto", log_to_driver=False, logging_level=logging.WARNING, runtime_env={"env_vars": ONE_THREAD}
        )
    elif config.address == "local":
        # nobody takes this machine away, so that a fit need not start a process that watches for it
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        with _port_of_gcs() as port:
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
    ray.data.DataContext.get_current().enable_progress_bars = False  # jobs report their own progress, in one line
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # else four lines for every dataset
    try:
        yield
    except BaseException as error:
        # a half-read dataset that the traceback holds would end after Ray, and wait for a new one for ever
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        ray.shutdown()
        _owned = False
