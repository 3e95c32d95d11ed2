"""Serve the live release of a lake on this machine over HTTP, until Ctrl-C.

On a cluster, `serve deploy serve_apps/search.yaml` does the same; Serve's flags are then set where Ray is started
(`cluster.yaml`).
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from intarsia.config import add_settings_help, describe
from intarsia.errors import ArtifactError, ConfigError, IntarsiaError
from intarsia.lake import Lake
from intarsia.release.bundle import verify
from serve_apps.demo_queries import demo_queries, run_demo_query
from serve_apps.environment import is_free, set_local_serve_environment
from serve_apps.settings import ServingConfig, serving_config

if TYPE_CHECKING:
    from ray.serve.schema import ServeStatus

_READY_WITHIN_S = 120.0
_POLL_EVERY_S = 0.2


@contextmanager
def serving(config: ServingConfig, *, host: str = "127.0.0.1", port: int = 8000) -> Iterator[str]:
    """Serve a release with a local Ray while the block runs; yields the base URL once `/readyz` answers 200.

    Raises:
        ConfigError: the port is in use.
        ArtifactError: no release is live, or its files do not match its manifest.
    """
    if not is_free(host, port):
        raise ConfigError(f"port {port} of {host} is in use. Fix: give a free one with --port")
    folder = config.release_folder()
    verify(folder)
    set_local_serve_environment()
    from ray import serve  # not before: Serve reads its flags while it is imported

    from intarsia.onray.session import SessionConfig, ray_session
    from serve_apps.deployments.graph import APP_NAME, bind

    url = f"http://{host}:{port}"
    with ray_session(SessionConfig()):
        _stop_on_signals()  # again: Ray has installed its own handlers, which end with a stack trace
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(http_options={"host": host, "port": port})
        try:
            serve.run(bind(config), name=APP_NAME, route_prefix="/")
        except RuntimeError:
            reason = _failure_reason(serve.status())
            raise ArtifactError(f"release {folder.name} could not be served: {reason}") from None
        try:
            _wait_until_ready(url, _READY_WITHIN_S)
            yield url
        finally:
            serve.delete(APP_NAME)  # requests in flight are answered; the rest ends with Ray


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="intarsia serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    add_settings_help(
        parser,
        lambda advanced: (
            f"settings (key=value, e.g. budgets.ranker_ms=40):\n{describe(ServingConfig, advanced=advanced)}"
        ),
    )
    parser.add_argument("--lake", required=True, help="folder of the lake")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: all interfaces (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--topology", choices=("fused", "composed"), default="fused", help="default: %(default)s")
    parser.add_argument("--once", action="store_true", help="run three demo queries, print their pages, and end")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings; they override the flags above")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    _stop_on_signals()
    try:
        config = serving_config({"lake": options.lake, "topology": options.topology, **_parse(options.settings)})
        with serving(config, host=options.host, port=options.port) as url:
            _write_status(f"serving {config.topology} at {url}  (page: {url}/, API: {url}/openapi.json; Ctrl-C stops)")
            if options.once:
                for query in demo_queries(Lake(config.lake), config.release_folder()):
                    _print(run_demo_query(url, query))
                return 0
            threading.Event().wait()
    except IntarsiaError as error:
        _write_status(f"{type(error).__name__}: {error}")
        return 1
    except KeyboardInterrupt:
        _write_status("stopped")
    return 0


def _parse(arguments: Sequence[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ConfigError(f"{argument!r} is not key=value. Fix: write for example budgets.ranker_ms=40")
        settings[key] = value
    return settings


def _failure_reason(status: ServeStatus) -> str:
    """The last line of the deployments' messages that is not part of a stack trace."""
    messages = [d.message for app in status.applications.values() for d in app.deployments.values() if d.message]
    lines = [
        line
        for message in messages
        for line in message.splitlines()
        if line and not line.startswith((" ", "Traceback"))
    ]
    return lines[-1] if lines else "the deployments give no reason; see the logs of Ray"


def _wait_until_ready(url: str, within_s: float) -> None:
    deadline_s = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline_s:
                raise ConfigError(f"{url}/readyz is not ready after {within_s:.0f} s: {error}") from None
        time.sleep(_POLL_EVERY_S)


def _stop_on_signals() -> None:
    if threading.current_thread() is threading.main_thread():
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
    raise KeyboardInterrupt


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _write_status(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
