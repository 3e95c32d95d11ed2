"""Replay the log of served requests: check that the features of each request can be computed again bit for bit."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from intarsia.config import check_range, setting
from intarsia.engine.search import SearchEngine
from intarsia.errors import ArtifactError, IntarsiaError, ReleaseMismatch
from intarsia.ids import ReleaseId, RequestId
from intarsia.lake import Lake, write_json
from intarsia.logs import log_warning
from intarsia.records.served import ServedRequest, is_sampled
from intarsia.release.bundle import open_bundle
from intarsia.tables.served_requests import read_served
from pipelines.job import Counts, Job, JobProgress, main

_MAX_LISTED = 10  # request ids in the report and in the error


class ReplayDiffers(IntarsiaError):
    """The recomputed features of a served request differ from the logged ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayServedConfig:
    """Which requests are replayed."""

    served: Path | None = setting("folder of the log of served requests; default: <lake>/served", None)
    share: float = setting("share of the requests to replay, 0 to 1, sampled by request id as in the log", 1.0)

    def __post_init__(self) -> None:
        check_range(self, "share", low=0, high=1)


def run(config: ReplayServedConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Log -> a report. Each release is opened once, and the log is read once per release.

    Raises:
        ReplayDiffers: a digest differs from the logged one; the report is written before.
    """
    folder = config.served or lake.root / "served"
    by_release = Counter(served.release_id for served in _sampled(folder, config.share))
    total, done = by_release.total(), 0
    counts = dict.fromkeys(("same", "different", "degraded", "release_gone", "release_refused"), 0)
    different: list[RequestId] = []
    for release_id, num_requests in by_release.items():
        engine = _open(lake.root / "releases" / release_id)
        if isinstance(engine, str):
            counts[engine] += num_requests
            done += num_requests
            continue
        for served in _sampled(folder, config.share, release_id):
            outcome = _outcome(served, engine)
            counts[outcome] += 1
            if outcome == "different":
                different.append(served.request_id)
            done += 1
            progress("requests", done, max(total, done))
    summary: dict[str, object] = {"requests": done, **counts, "releases": len(by_release)}
    with lake.publish("served_replay") as report_folder:
        write_json(report_folder / "report.json", {**summary, "first_different": different[:_MAX_LISTED]})
    if different:
        raise ReplayDiffers(
            f"the recomputed features of {len(different)} of {counts['same'] + len(different)} served requests differ, "
            f"first {', '.join(different[:_MAX_LISTED])}; the code, the release's files or the processor have changed "
            f"since they were served. See {lake.current('served_replay').path / 'report.json'}"
        )
    return summary


def _sampled(folder: Path, share: float, release_id: ReleaseId | None = None) -> Iterator[ServedRequest]:
    for served in read_served(folder):
        if is_sampled(served.request_id, share) and release_id in (None, served.release_id):
            yield served


def _open(folder: Path) -> SearchEngine | str:
    """The engine of a release, or the name of the count for its requests."""
    if not folder.is_dir():
        return "release_gone"
    try:
        return open_bundle(folder)
    except (ArtifactError, ReleaseMismatch) as error:
        log_warning("release_refused", release_id=folder.name, error=str(error))
        return "release_refused"


def _outcome(served: ServedRequest, engine: SearchEngine) -> str:
    if not served.is_replayable:
        return "degraded"
    return "same" if engine.replay(served) == served.digest else "different"


JOB = Job(
    name="replay_served",
    summary="the log of served requests -> whether their features can be computed again bit for bit",
    config=ReplayServedConfig,
    writes=("served_replay",),
    needs_ray=False,
    always=True,
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
