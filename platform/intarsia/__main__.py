"""The command `intarsia`: one entry point for the jobs and the server.

Each command calls a module that can also be run with `python -m`; this file only maps names to modules.
"""

from __future__ import annotations

import argparse
import importlib
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from intarsia import __version__

_COMMANDS = {
    "run": "run all jobs of a config file in order; skip what is up to date",
    "job": "run one job",
    "jobs": "list the jobs",
    "serve": "serve the live release of a lake over HTTP, with a search page",
    "evaluate": "measure the staged release on the judged queries and write the report",
    "promote": "make the staged release live, if the gate accepts it",
    "rollback": "make the previous release live again",
    "demo": "generate a market, run the whole pipeline on it, and serve the result",
}

_SIGNAL_STATUS = 128
"""Added to the number of the signal that ended a command, as shells do."""

_USAGE = """examples:
  intarsia run pipelines/configs/small.yaml lake=lake/demo
  intarsia job ingest_catalog --config shop.yaml
  intarsia serve --lake lake/demo --port 8000
  intarsia rollback --config pipelines/configs/small.yaml lake=lake/demo

`intarsia COMMAND --help` explains a command; `intarsia job NAME --help` lists the settings of a job."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="intarsia",
        description="Multimodal product search on Ray: build, evaluate and serve releases.",
        epilog=_USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"intarsia {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in _COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    try:
        try:
            options, rest = parser.parse_known_args(arguments)
            return _RUNNERS[options.command](rest)
        finally:
            if sys.stdout is not None:  # None if the caller has closed it
                sys.stdout.flush()
    except BrokenPipeError:
        if not _is_stdout_closed():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at its end
        return _SIGNAL_STATUS + signal.SIGPIPE
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return _SIGNAL_STATUS + signal.SIGINT


def _is_stdout_closed() -> bool:
    """Whether the reader of the standard output has gone, as in `intarsia jobs | head -1`."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return bool(poll.poll(0))  # an error or a hang-up, which are reported always


def _run(rest: list[str]) -> int:
    # the config file may come first without --config: `intarsia run shop.yaml lake=...`
    if rest and not rest[0].startswith("-") and "=" not in rest[0] and "--config" not in rest:
        rest = ["--config", *rest]
    return _call("pipelines.full_run", rest)


def _job(rest: list[str]) -> int:
    names = importlib.import_module("pipelines.jobs")
    known = (*names.JOB_NAMES, *names.CHECK_NAMES)
    if not rest or rest[0] in ("-h", "--help"):
        sys.stdout.write("usage: intarsia job NAME --config FILE [key=value ...]\n\n")
        return _list_jobs()
    if rest[0] not in known:
        from intarsia.config import nearest_of

        sys.stderr.write(f"unknown job {rest[0]}{nearest_of(rest[0], known)}\n")
        return 2
    return _call_job(rest[0], rest[1:])


def _jobs(rest: list[str]) -> int:
    argparse.ArgumentParser(prog="intarsia jobs", description=_COMMANDS["jobs"]).parse_args(rest)
    return _list_jobs()


def _list_jobs() -> int:
    runpy.run_module("pipelines", run_name="__main__")
    return 0


def _serve(rest: list[str]) -> int:
    return _call("serve_apps.run", rest)


def _evaluate(rest: list[str]) -> int:
    return _call_job("evaluate_release", rest, program="intarsia evaluate")


def _promote(rest: list[str]) -> int:
    return _call_job("promote_release", rest, program="intarsia promote")


def _rollback(rest: list[str]) -> int:
    if target := next((text for text in rest if text.removeprefix("promote_release.").startswith("to=")), None):
        sys.stderr.write(
            f"rollback takes no {target}; it is to=previous. Fix: intarsia promote --config FILE {target}\n"
        )
        return 2
    return _call_job("promote_release", [*rest, "to=previous"], program="intarsia rollback")


def _demo(rest: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="intarsia demo", description=_COMMANDS["demo"])
    parser.add_argument("--lake", type=Path, default=Path("lake") / "demo", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--once", action="store_true", help="send three queries, print the replies, and end")
    options = parser.parse_args(rest)
    config = Path(importlib.import_module("pipelines").__path__[0]) / "configs" / "small.yaml"
    once = ["--once"] if options.once else []
    for module, *values in (  # one process each: Ray Serve reads its flags when ray is imported
        ("serve_apps.environment", str(options.port)),
        ("pipelines.full_run", "--config", str(config), f"lake={options.lake.absolute()}"),
        ("serve_apps.run", "--lake", str(options.lake), "--port", str(options.port), *once),
    ):
        if status := _run_process([sys.executable, "-m", module, *values]):
            return status
    return 0


def _run_process(arguments: Sequence[str]) -> int:
    """Run a program and return its exit status; signals do not end this process before the program has ended."""
    process = subprocess.Popen(arguments)
    is_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, lambda number, frame: process.terminate()) if is_main else None
    try:
        while True:
            try:
                status = process.wait()
                return status if status >= 0 else _SIGNAL_STATUS - status
            except KeyboardInterrupt:  # the terminal has sent it to the program too, which stops what it started
                continue
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, previous)


def _call(module: str, arguments: Sequence[str]) -> int:
    status: int = importlib.import_module(module).main(list(arguments))
    return status


def _call_job(name: str, arguments: Sequence[str], *, program: str | None = None) -> int:
    job = importlib.import_module(f"pipelines.{name}").JOB
    status: int = importlib.import_module("pipelines.job").main(job, list(arguments), program=program)
    return status


_RUNNERS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "job": _job,
    "jobs": _jobs,
    "serve": _serve,
    "evaluate": _evaluate,
    "promote": _promote,
    "rollback": _rollback,
    "demo": _demo,
}

if __name__ == "__main__":
    sys.exit(main())
