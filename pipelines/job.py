"""What every job is: a config class, what it reads and writes, and a `run`; and the one command line they share.

A config file has a group per job, beside `lake` (the folder) and `session` (where Ray runs); its relative paths start from its own folder.
A job's record, `<lake>/runs/<job>.json`, says which inputs (by digest) and which config made what is in the lake; equal inputs and config
mean the job is up to date.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from intarsia import __version__
from intarsia.config import build, describe, fingerprint, nearest_of, setting, to_jsonable
from intarsia.config_file import read_yaml, with_overrides
from intarsia.errors import ArtifactError, ConfigError, IntarsiaError
from intarsia.ids import sha256_json, sha256_tree, short
from intarsia.lake import Lake, resumable_dir, write_json
from intarsia.onray.session import SessionConfig, ray_session
from pipelines.jobs import CHECK_NAMES, JOB_NAMES

ConfigT = TypeVar("ConfigT")
Counts = Mapping[str, Any]
"""A job's summary: JSON-able counts and figures under short names."""


class JobProgress:
    """One line per step on standard error, rewritten in place on a terminal: `embed_products  text 1200/3000`."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._live = sys.stderr.isatty()
        self._last_s = 0.0

    def __call__(self, step: str, done: int, total: int) -> None:
        """Tell how far a step is, in its own units; cheap enough to call for every batch."""
        now_s = time.monotonic()
        finished = done >= total
        every_s = 0.2 if self._live else 5.0
        if not finished and now_s - self._last_s < every_s:
            return
        self._last_s = now_s
        line = f"{self._job}  {step} {done}/{total}"
        end = "\n" if finished or not self._live else ""
        sys.stderr.write(f"\r{line:<78}{end}" if self._live else f"{line}\n")
        sys.stderr.flush()


@dataclass(frozen=True, kw_only=True)
class Job(Generic[ConfigT]):
    """One step of the line.

    Attributes:
        name: also the module's and the config group's name.
        about: one line for the list of jobs.
        config: its config class.
        reads: lake entries it needs; `reads_if_there` those it uses when they exist.
        files: paths outside the lake it reads, from its config; their content counts as input.
        writes: lake entries it publishes, the main one last.
        more_inputs: what else decides whether it is up to date, from the lake and its config, by name.
        still_there: whether what it made outside its entries is there and whole; asked only when all else says it is up to date.
        on_ray: it needs Ray; one that does not is spared Ray's start, some seconds.
        always: it runs however often it is asked: it acts on the world, it does not make a table.
        run: does the work and returns the counts of its summary.
    """

    name: str
    summary: str
    config: type[ConfigT]
    reads: tuple[str, ...] = ()
    optional_reads: tuple[str, ...] = ()
    files: Callable[[ConfigT], Sequence[Path]] = field(default=lambda config: ())
    extra_inputs: Callable[[Lake, ConfigT], Mapping[str, str]] = field(default=lambda lake, config: {})
    writes: tuple[str, ...]
    outputs_intact: Callable[[Lake], bool] = field(default=lambda lake: True)
    needs_ray: bool = True
    always: bool = False
    run: Callable[[ConfigT, Lake, JobProgress], Counts]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What all jobs of one config file share."""

    lake: Path = setting("folder of the tables and artefacts; on a cluster one that every node mounts")
    session: SessionConfig = setting("where Ray runs", factory=SessionConfig)


def load_job(name: str) -> Job[Any]:
    """The job of a name in `JOB_NAMES` or `CHECK_NAMES`."""
    job: Job[Any] = importlib.import_module(f"pipelines.{name}").JOB
    return job


def run_job(
    job: Job[Any], config: Any, lake: Lake, *, force: bool = False, start_ray: Callable[[], None] = lambda: None
) -> bool:
    """Run a job unless it is up to date; returns whether it ran. Writes its record last, so a killed job is run again.

    `start_ray` is called when the job is going to run and needs Ray.
    """
    record_path = lake.root / "runs" / f"{job.name}.json"
    wanted = _cache_key(job, config, lake)
    if not (force or job.always) and _is_up_to_date(job, lake, record_path, wanted):
        print(f"{job.name:<24} up to date")
        return False
    print(f"{job.name:<24} running")
    if job.needs_ray:
        start_ray()
    started_at, start_s = datetime.now(UTC), time.monotonic()
    counts = job.run(config, lake, JobProgress(job.name))
    duration_s = time.monotonic() - start_s
    outputs = {name: lake.current(name).digest for name in job.writes}
    write_json(
        record_path,
        {
            **wanted,
            "job": job.name,
            "config_values": to_jsonable(config),
            "started_at": started_at.isoformat(),
            "duration_s": round(duration_s, 3),
            "counts": dict(counts),
            "outputs": outputs,
        },
    )
    shown = ", ".join(
        f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in counts.items()
    )
    print(f"{job.name:<24} done in {duration_s:.1f} s: {shown}")
    for name in job.writes:
        print(f"{'':<24} {name} -> {lake.current(name).path}")
    return True


@contextmanager
def resumable_run_dir(job: Job[ConfigT], config: ConfigT, lake: Lake) -> Iterator[Path]:
    """A folder for what a run that is stopped wants to find again: the same for equal inputs and config; gone when the block ends well.

    Raises:
        ArtifactError: such a run is at work.
    """
    with resumable_dir(lake.root, job.name, short(sha256_json(_cache_key(job, config, lake)))) as folder:
        yield folder


def main(job: Job[Any], arguments: Sequence[str] | None = None) -> int:
    """The command line of one job; returns the process's exit status."""
    parser = argparse.ArgumentParser(
        prog=f"python -m pipelines.{job.name}",
        description=job.summary,
        epilog=f"Settings of the group `{job.name}` (in FILE, or as key=value):\n{describe(job.config)}\n\n"
        f"Settings of all jobs (in FILE, or as key=value):\n{describe(RunConfig)}\n\n"
        f"Reads {', '.join(job.reads + job.optional_reads) or 'files only'}; writes {', '.join(job.writes)}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="YAML with a group per job")
    parser.add_argument("--force", action="store_true", help="run even when inputs and config have not changed")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings that win over FILE: this job's, or those of all jobs",
    )
    options = parser.parse_args(arguments)
    return run_command(lambda: _run_one(job, options.config, options.overrides, force=options.force))


def run_command(work: Callable[[], None]) -> int:
    """Run a command; an error meant for its user becomes one line and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log file shows what runs now, not what ran 8 kB ago
    try:
        work()
    except IntarsiaError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def load_values(path: Path, overrides: Sequence[str], *, group: str | None) -> dict[str, Any]:
    """A config file's values with overrides.

    A key, with or without `group.` before it, goes to `group`, but those of `RunConfig` and any `/key` go to the top.
    """
    shared = {one.name for one in fields(RunConfig)}

    def placed(override: str) -> str:
        first = re.split(r"[.=]", override, maxsplit=1)[0]
        is_shared = group is None or first in shared or override.startswith("/")
        return override.removeprefix("/") if is_shared else f"{group}.{override.removeprefix(f'{group}.')}"

    return with_overrides(read_yaml(path), [placed(override) for override in overrides])


def check_groups(values: Mapping[str, Any], path: Path, *more: str) -> None:
    """Refuse a group of the config file `path`, or of an override, that no job has, nor all of them, nor `more` names.

    Raises:
        ConfigError: names the group and the nearest known one.
    """
    known = (*JOB_NAMES, *CHECK_NAMES, *more, *(one.name for one in fields(RunConfig)))
    for name in values:
        if name not in known:
            raise ConfigError(f"unknown group {name} in {path} or its overrides{nearest_of(name, known)}")


def run_config(values: Mapping[str, Any], path: Path) -> RunConfig:
    """The settings shared by all jobs of the config file `path`."""
    shared = {one.name: values[one.name] for one in fields(RunConfig) if one.name in values}
    return build(RunConfig, shared, base=path.parent)


def _run_one(job: Job[Any], path: Path, overrides: Sequence[str], *, force: bool) -> None:
    values = load_values(path, overrides, group=job.name)
    check_groups(values, path, job.name)
    shared = run_config(values, path)
    config = build(job.config, values.get(job.name) or {}, where=job.name, base=path.parent)
    lake = Lake(shared.lake.absolute())  # workers may stand in another folder
    with ExitStack() as session:
        run_job(job, config, lake, force=force, start_ray=lambda: session.enter_context(ray_session(shared.session)))


def _cache_key(job: Job[Any], config: Any, lake: Lake) -> dict[str, Any]:
    """What decides a job's result; equal ones mean it is up to date."""
    return {"inputs": _inputs(job, config, lake), "config": fingerprint(config), "version": __version__}


def _inputs(job: Job[Any], config: Any, lake: Lake) -> dict[str, str]:
    inputs = {name: lake.current(name).digest for name in job.reads}
    inputs |= {name: lake.current(name).digest for name in job.optional_reads if lake.has(name)}
    for number, path in enumerate(job.files(config)):
        if not path.exists():
            raise ConfigError(f"{job.name} reads {path}, which does not exist; correct the path in the config")
        inputs[f"file {number}, {path.name}"] = sha256_tree(path)  # where it lies does not matter
    return {**inputs, **job.extra_inputs(lake, config)}


def _is_up_to_date(job: Job[Any], lake: Lake, record_path: Path, wanted: Mapping[str, Any]) -> bool:
    if not record_path.is_file():
        return False
    record = json.loads(record_path.read_text(encoding="utf-8"))
    same = all(record.get(key) == value for key, value in wanted.items())
    same = same and record["outputs"] == {name: _digest_of(lake, name) for name in job.writes}
    return same and job.outputs_intact(lake)


def _digest_of(lake: Lake, name: str) -> str | None:
    try:
        return lake.current(name).digest
    except ArtifactError:  # never made, or its files are gone: its job must run
        return None
