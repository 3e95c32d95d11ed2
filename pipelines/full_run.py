"""Runs all jobs of a config file in order.

A job runs if the file has a group of its name (which may be empty) and it is not up to date.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from intarsia.config import add_settings_help, build, describe
from intarsia.errors import ConfigError
from intarsia.onray.session import ray_session
from pipelines.job import (
    Job,
    RunConfig,
    check_groups,
    load_job,
    load_values,
    open_lake,
    run_command,
    run_config,
    run_job,
)
from pipelines.jobs import JOB_NAMES


def run_all(path: Path, overrides: Sequence[str], *, force: bool = False, until: str | None = None) -> None:
    """Run the jobs that a config file has groups for.

    Args:
        path: the config file.
        overrides: `key=value` texts that override it.
        force: run also the jobs that are up to date.
        until: the last job to run.

    Raises:
        ConfigError: a setting of any of the jobs is wrong. Raised before the first job starts.
    """
    values = load_values(path, overrides, group=None)
    check_groups(values, path)
    shared = run_config(values, path)
    names = [name for name in JOB_NAMES if name in values]
    if until is not None and until not in names:
        raise ConfigError(f"--until {until}: {path} has no such group; it has {', '.join(names)}")
    steps: list[tuple[Job[Any], Any]] = []
    for name in names[: names.index(until) + 1] if until else names:
        job = load_job(name)
        steps.append((job, build(job.config, values[name] or {}, where=name, base=path.parent)))
    lake, start_s = open_lake(shared), time.monotonic()
    with ExitStack() as session:  # Ray starts for the first job that needs it, and stops at the end

        def start_ray() -> None:
            session.enter_context(ray_session(shared.session))

        num_run = sum(run_job(job, config, lake, force=force, start_ray=start_ray) for job, config in steps)
    print(
        f"{'full_run':<24} {num_run} of {len(steps)} jobs ran in {time.monotonic() - start_s:.1f} s; "
        f"the lake is {shared.lake}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status of the process."""

    def settings_text(advanced: bool) -> str:
        groups = "".join(
            f"\n\nSettings of {name}:\n{text}"
            for name in JOB_NAMES
            if (text := describe(load_job(name).config, advanced=advanced))
        )
        return (
            f"Jobs: {', '.join(JOB_NAMES)}\n\nSettings of all jobs:\n{describe(RunConfig, advanced=advanced)}{groups}"
        )

    parser = argparse.ArgumentParser(
        prog="intarsia run",
        description="Run all jobs of a config file in order. Jobs that are up to date are skipped: an interrupted run "
        "continues.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    add_settings_help(parser, settings_text)
    parser.add_argument(
        "--config",
        required=True,
        type=Path,
        metavar="FILE",
        help="YAML with a group per job; `intarsia run FILE` means the same",
    )
    parser.add_argument("--force", action="store_true", help="run also the jobs that are up to date")
    parser.add_argument("--until", metavar="JOB", help="stop after this job")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="for example lake=/data/shop or embed_products.num_workers=4"
    )
    options = parser.parse_args(arguments)
    return run_command(lambda: run_all(options.config, options.overrides, force=options.force, until=options.until))


if __name__ == "__main__":
    sys.exit(main())
