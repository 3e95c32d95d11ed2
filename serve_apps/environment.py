"""Environment variables that Ray Serve reads while ray is imported; set them before. Nothing here imports ray."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence

from intarsia.errors import ConfigError

_MAX_PORT = 65_535
THROUGHPUT_FLAGS = {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1"}
"""Serve without its Python proxy: 1 ms per request instead of 5. `cluster.yaml` sets the same flags."""

_LOCAL_FLAGS = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_worker_niceness": "0",  # default 15: replicas would wait for every other process of the machine
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",  # default 30, for load balancers
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "2",
}
_PROXY_PORTS = {  # of the proxy itself; two servers on one machine must not share them
    "RAY_SERVE_HAPROXY_STATS_PORT": 8404,
    "RAY_SERVE_HAPROXY_METRICS_PORT": 9101,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": 8500,
}


def set_local_serve_environment() -> None:
    """Set the variables for a Serve that this process starts; a variable that is already set keeps its value."""
    assert "ray" not in sys.modules, "Serve reads its flags when ray is imported"
    proxy_ports = {name: str(_free_port_from(port)) for name, port in _PROXY_PORTS.items()}
    for name, value in (THROUGHPUT_FLAGS | _LOCAL_FLAGS | proxy_ports).items():
        os.environ.setdefault(name, value)


def is_free(host: str, port: int) -> bool:
    """Whether a server can listen on the port now.

    Raises:
        ConfigError: the port is not a port number.
    """
    if not 1 <= port <= _MAX_PORT:
        raise ConfigError(f"port is {port}; allowed: 1 to {_MAX_PORT}. Fix: give another one with --port")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def main(arguments: Sequence[str]) -> int:
    """`python -m serve_apps.environment PORT`: exit status 1 if a local server cannot listen on the port."""
    port = int(arguments[0])
    try:
        if is_free("127.0.0.1", port):
            return 0
    except ConfigError as error:
        sys.stderr.write(f"ConfigError: {error}\n")
        return 1
    sys.stderr.write(f"port {port} of 127.0.0.1 is in use. Fix: give a free one, e.g. make demo PORT=8001\n")
    return 1


def _free_port_from(first: int) -> int:
    return next((port for port in range(first, first + 200) if is_free("", port)), first)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
