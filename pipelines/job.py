"""The `Job` type, its command line, and the record that tells whether a job is up to date.

A config file has a group per job, and the groups of `RunConfig`: `lake` (the folder) and `session` (where Ray runs).
Its relative paths start from its own folder. A job's record, `<lake>/runs/<job>.json`, holds the digests of the
inputs, config and code that made its outputs. A job is up to date if they are unchanged and its outputs exist.
"""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from intarsia.config import add_settings_help, build, describe, fingerprint, nearest_of, setting, to_jsonable
from intarsia.config_file import read_yaml, with_overrides
from intarsia.errors import ArtifactError, ConfigError, IntarsiaError
from intarsia.ids import sha256_json, sha256_tree, short
from intarsia.lake import Lake, read_json_object, resumable_dir, write_json
from intarsia.logs import log_warning
from intarsia.onray.session import SessionConfig, ray_session
from pipelines.code_digest import project_source
from pipelines.jobs import CHECK_NAMES, JOB_NAMES

ConfigT = TypeVar("ConfigT")
Counts = Mapping[str, Any]
"""Counts and figures of a finished job, by name; JSON values."""


class JobProgress:
    """Prints the progress of a job's steps on standard error, as `embed_products  text 1200/3000`."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._is_terminal = sys.stderr.isatty()
        self._last_s = 0.0

    def __call__(self, step: str, done: int, total: int) -> None:
        """Report that `done` of `total` units of a step are finished; cheap enough to be called for every batch."""
        now_s = time.monotonic()
        finished = done >= total
        interval_s = 0.2 if self._is_terminal else 5.0
        if not finished and now_s - self._last_s < interval_s:
            return
        self._last_s = now_s
        line = f"{self._job}  {step} {done}/{total}"
        end = "\n" if finished or not self._is_terminal else ""
        sys.stderr.write(f"\r{line:<78}{end}" if self._is_terminal else f"{line}\n")
        sys.stderr.flush()


@dataclass(frozen=True, kw_only=True)
class Job(Generic[ConfigT]):
    """One step of the pipeline.

    Attributes:
        name: name of its module and of its config group.
        summary: one line for the list of jobs.
        config: its config class.
        reads: lake entries it needs.
        optional_reads: lake entries it uses if they exist.
        files: paths outside the lake that it reads, from its config; their content counts as input.
        extra_inputs: further inputs that decide whether it is up to date, by name.
        writes: lake entries it publishes, the main one last.
        outputs_intact: whether outputs outside its entries are complete; called if the job is up to date otherwise.
        needs_ray: start Ray (some seconds) before it runs.
        always: run even if it is up to date: it has effects outside the lake.
        run: does the work and returns its counts.
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
    """Settings shared by all jobs of a config file."""

    lake: Path = setting("folder of the tables and artefacts; on a cluster a folder that every node mounts")
    session: SessionConfig = setting("where Ray runs", factory=SessionConfig)


def load_job(name: str) -> Job[Any]:
    """Import the job of a name in `JOB_NAMES` or `CHECK_NAMES`."""
    job: Job[Any] = importlib.import_module(f"pipelines.{name}").JOB
    return job


def run_job(
    job: Job[Any], config: Any, lake: Lake, *, force: bool = False, start_ray: Callable[[], None] = lambda: None
) -> bool:
    """Run a job unless it is up to date. Its record is written last, so a killed job runs again.

    Args:
        job: the job.
        config: its settings.
        lake: where it reads and writes.
        force: run it even if it is up to date.
        start_ray: called before the job runs, if it needs Ray.

    Returns:
        Whether the job ran.
    """
    record_path = lake.root / "runs" / f"{job.name}.json"
    key = cache_key(job, config, lake)
    if not (force or job.always) and _is_up_to_date(job, lake, record_path, key):
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
            **key,
            "job": job.name,
            "config_values": to_jsonable(config),
            "started_at": started_at.isoformat(),
            "duration_s": round(duration_s, 3),
            "counts": dict(counts),
            "outputs": outputs,
        },
    )
    counts_text = ", ".join(
        f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in counts.items()
    )
    print(f"{job.name:<24} done in {duration_s:.1f} s: {counts_text}")
    for name in job.writes:
        print(f"{'':<24} {name} -> {lake.current(name).path}")
    return True


@contextmanager
def resumable_run_dir(job: Job[ConfigT], config: ConfigT, lake: Lake) -> Iterator[Path]:
    """A folder in which an interrupted run of the job continues, if inputs, config and code are the same.

    It is removed when the block ends without an error; so are the folders of other inputs, config or code.

    Raises:
        ArtifactError: another process runs the job with the same inputs, config and code.
    """
    with resumable_dir(lake.root, job.name, short(sha256_json(cache_key(job, config, lake)))) as folder:
        yield folder


def main(job: Job[Any], arguments: Sequence[str] | None = None, *, program: str | None = None) -> int:
    """The command line of one job; returns the exit status of the process. `program` is the command that help shows."""

    def settings_text(advanced: bool) -> str:
        return (
            f"Settings of the group `{job.name}` (in FILE, or as key=value):\n"
            f"{describe(job.config, advanced=advanced)}\n\n"
            f"Settings of all jobs (in FILE, or as key=value):\n{describe(RunConfig, advanced=advanced)}\n\n"
            f"Reads {', '.join(job.reads + job.optional_reads) or 'files only'}; writes {', '.join(job.writes)}."
        )

    parser = argparse.ArgumentParser(
        prog=program or f"intarsia job {job.name}",
        description=job.summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    add_settings_help(parser, settings_text)
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="YAML with a group per job")
    parser.add_argument("--force", action="store_true", help="run even if the job is up to date")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings that override FILE: of this job, or of all jobs",
    )
    options = parser.parse_args(arguments)
    return run_command(lambda: _run_one(job, options.config, options.overrides, force=options.force))


def run_command(work: Callable[[], None]) -> int:
    """Run a command and return its exit status; an `IntarsiaError` is printed as one line, with status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # so that a log file is not 8 kB behind
    try:
        work()
    except IntarsiaError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    return 0


def open_lake(shared: RunConfig) -> Lake:
    """The lake of a config; its path is absolute, as workers may have another working directory.

    Raises:
        ConfigError: the folder cannot be written.
    """
    root = shared.lake.absolute()
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        problem = "is not writable" if existing.is_dir() else "is not a folder"
        raise ConfigError(
            f"lake is {root}, but {existing} {problem}. Fix: give a folder that can be written, lake=FOLDER"
        )
    return Lake(root)


def command_line() -> str:
    """The command that this process runs, for reports: `intarsia ...` or `python -m pipelines.JOB ...`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # None: a script, such as the installed `intarsia`
    program = ["intarsia"] if spec is None or spec.name == "intarsia.__main__" else ["python", "-m", spec.name]
    return shlex.join([*program, *sys.argv[1:]])


def load_values(path: Path, overrides: Sequence[str], *, group: str | None) -> dict[str, Any]:
    """Read a config file and apply overrides.

    With a `group`, the key of an override is relative to it (`group.` may stand before it), except keys of `RunConfig`
    and keys that start with `/`, which are relative to the whole file.
    """
    shared = {field.name for field in fields(RunConfig)}

    def with_group(override: str) -> str:
        first = re.split(r"[.=]", override, maxsplit=1)[0]
        is_absolute = group is None or first in shared or override.startswith("/")
        return override.removeprefix("/") if is_absolute else f"{group}.{override.removeprefix(f'{group}.')}"

    return with_overrides(read_yaml(path), [with_group(override) for override in overrides])


def check_groups(values: Mapping[str, Any], path: Path, *extra_names: str) -> None:
    """Refuse groups that are neither a job's, nor of `RunConfig`, nor one of `extra_names`.

    Raises:
        ConfigError: names the group and the nearest known one.
    """
    known = (*JOB_NAMES, *CHECK_NAMES, *extra_names, *(field.name for field in fields(RunConfig)))
    for name in values:
        if name not in known:
            raise ConfigError(f"unknown group {name} in {path} or its overrides{nearest_of(name, known)}")


def run_config(values: Mapping[str, Any], path: Path) -> RunConfig:
    """The shared settings among the `values` of the config file `path`."""
    shared = {field.name: values[field.name] for field in fields(RunConfig) if field.name in values}
    return build(RunConfig, shared, base=path.parent)


def _run_one(job: Job[Any], path: Path, overrides: Sequence[str], *, force: bool) -> None:
    values = load_values(path, overrides, group=job.name)
    check_groups(values, path, job.name)
    shared = run_config(values, path)
    config = build(job.config, values.get(job.name) or {}, where=job.name, base=path.parent)
    lake = open_lake(shared)
    with ExitStack() as session:
        run_job(job, config, lake, force=force, start_ray=lambda: session.enter_context(ray_session(shared.session)))


def cache_key(job: Job[Any], config: Any, lake: Lake) -> dict[str, Any]:
    """Digests of all that determines a job's outputs: its inputs, its config and its code.

    Raises:
        ArtifactError: an entry that the job needs does not exist.
        ConfigError: a file that the job reads does not exist.
    """
    inputs = {name: lake.current(name).digest for name in job.reads}
    inputs |= {name: lake.current(name).digest for name in job.optional_reads if lake.has(name)}
    for number, path in enumerate(job.files(config)):
        if not path.exists():
            raise ConfigError(f"{job.name} reads {path}, which does not exist; correct the path in the config")
        inputs[f"file {number}, {path.name}"] = sha256_tree(path)  # without its folder: a moved file is the same input
    inputs |= job.extra_inputs(lake, config)
    module = sys.modules[job.run.__module__]  # not by its name: `__main__` when the job is run by itself
    assert module.__file__ is not None
    return {"inputs": inputs, "config": fingerprint(config), "code": project_source().digest_of(Path(module.__file__))}


def _is_up_to_date(job: Job[Any], lake: Lake, record_path: Path, key: Mapping[str, Any]) -> bool:
    if not record_path.is_file():
        return False
    try:
        record = read_json_object(record_path, ("outputs",), fix="")
    except ArtifactError:
        log_warning("job_record_unreadable", job=job.name, path=record_path, effect="the job runs again")
        return False
    is_same = all(record.get(name) == value for name, value in key.items())
    is_same = is_same and record["outputs"] == {name: _current_digest(lake, name) for name in job.writes}
    return is_same and job.outputs_intact(lake)


def _current_digest(lake: Lake, name: str) -> str | None:
    try:
        return lake.current(name).digest
    except ArtifactError:  # never published, or its files are missing
        return None
