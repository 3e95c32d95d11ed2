"""The command `intarsia`: one entry point for the jobs and the server.

Each command calls a module that can also be run with `python -m`; this file only maps names to modules.
"""

from __future__ import annotations

import argparse
import importlib
import runpy
import subprocess
import sys
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
    options, rest = parser.parse_known_args(arguments)
    return _RUNNERS[options.command](rest)


def _run(rest: list[str]) -> int:
    # the config file may come first without --config: `intarsia run shop.yaml lake=...`
    if rest and not rest[0].startswith("-") and "=" not in rest[0]:
        rest = ["--config", *rest]
    return _call("pipelines.full_run", rest)


def _job(rest: list[str]) -> int:
    names = importlib.import_module("pipelines.jobs")
    known = (*names.JOB_NAMES, *names.CHECK_NAMES)
    if not rest or rest[0] in ("-h", "--help"):
        return _jobs([])
    if rest[0] not in known:
        from intarsia.config import nearest_of

        sys.stderr.write(f"unknown job {rest[0]}{nearest_of(rest[0], known)}\n")
        return 2
    return _call_job(rest[0], rest[1:])


def _jobs(rest: list[str]) -> int:
    runpy.run_module("pipelines", run_name="__main__")
    return 0


def _serve(rest: list[str]) -> int:
    return _call("serve_apps.run", rest)


def _evaluate(rest: list[str]) -> int:
    return _call_job("evaluate_release", rest, program="intarsia evaluate")


def _promote(rest: list[str]) -> int:
    return _call_job("promote_release", rest, program="intarsia promote")


def _rollback(rest: list[str]) -> int:
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
        if status := subprocess.call([sys.executable, "-m", module, *values]):
            return status
    return 0


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
