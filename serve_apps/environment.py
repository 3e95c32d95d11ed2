"""The environment that Ray Serve reads while it is imported: nothing here may import ray, and it comes before anything that does."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence

THROUGHPUT_FLAGS = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1"}
"""Serve without its Python proxy: 1 ms a request instead of 5. `cluster.yaml` sets the same ones."""

_ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
}
_NOT_NICE = {
    "RAY_worker_niceness": "0"
}  # Ray's default, 15, makes replicas wait for every other process of the machine
_STOP_AT_ONCE = {
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",  # default 30: for load balancers that a local server does not have
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "2",
}
_SIDE_PORTS = {  # those of the proxy itself; two servers on one machine must not share them
    "RAY_SERVE_HAPROXY_STATS_PORT": 8404,
    "RAY_SERVE_HAPROXY_METRICS_PORT": 9101,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": 8500,
}


def set_local_serve_environment() -> None:
    """The flags of a Serve that this process starts; what the caller has set already stays. Call it before ray is imported."""
    assert "ray" not in sys.modules, "Serve's flags are read when ray is imported"
    side_ports = {name: str(_free_port_from(port)) for name, port in _SIDE_PORTS.items()}
    for name, value in (THROUGHPUT_FLAGS | _ONE_THREAD | _NOT_NICE | _STOP_AT_ONCE | side_ports).items():
        os.environ.setdefault(name, value)


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def main(arguments: Sequence[str]) -> int:
    """`python -m serve_apps.environment PORT`: 0 when a local server could listen there, else 1 and a line that says so."""
    port = int(arguments[0])
    if is_free("127.0.0.1", port):
        return 0
    sys.stderr.write(f"port {port} of 127.0.0.1 is taken; give a free one: make demo PORT=8001\n")
    return 1


def _free_port_from(first: int) -> int:
    return next((port for port in range(first, first + 200) if is_free("", port)), first)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
