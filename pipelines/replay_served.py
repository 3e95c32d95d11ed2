"""The log of served requests, replayed: whether the very features that each request was ranked by can be computed again."""

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

_NAMED = 10  # request ids in the report and in the error


class ReplayDiffers(IntarsiaError):
    """A served request's features could not be computed again to the bit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayServedConfig:
    """Which requests are replayed."""

    served: Path | None = setting("folder of the log of served requests; nothing means <lake>/served", None)
    share: float = setting("share of all requests to replay, 0 to 1, chosen by request id as when they are logged", 1.0)

    def __post_init__(self) -> None:
        check_range(self, "share", low=0, high=1)


def run(config: ReplayServedConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Log -> a report; each release is opened once, and the log is read again for each.

    Raises:
        ReplayDiffers: a digest is not the logged one; the report is there all the same.
    """
    folder = config.served or lake.root / "served"
    by_release = Counter(served.release_id for served in _chosen(folder, config.share))
    total, done = by_release.total(), 0
    counts = dict.fromkeys(("same", "different", "degraded", "release_gone", "release_refused"), 0)
    different: list[RequestId] = []
    for release_id, num_requests in by_release.items():
        engine = _open(lake.root / "releases" / release_id)
        if isinstance(engine, str):
            counts[engine] += num_requests
            done += num_requests
            continue
        for served in _chosen(folder, config.share, release_id):
            outcome = _outcome(served, engine)
            counts[outcome] += 1
            if outcome == "different":
                different.append(served.request_id)
            done += 1
            progress("requests", done, max(total, done))
    summary: dict[str, object] = {"requests": done, **counts, "releases": len(by_release)}
    with lake.publish("served_replay") as place:
        write_json(place / "report.json", {**summary, "first_different": different[:_NAMED]})
    if different:
        raise ReplayDiffers(
            f"{len(different)} of {counts['same'] + len(different)} served requests have other features when they are "
            f"computed again, first {', '.join(different[:_NAMED])}; either the code, the release's files or the "
            f"processor is not what served them. See {lake.current('served_replay').path / 'report.json'}"
        )
    return summary


def _chosen(folder: Path, share: float, release_id: ReleaseId | None = None) -> Iterator[ServedRequest]:
    for served in read_served(folder):
        if is_sampled(served.request_id, share) and release_id in (None, served.release_id):
            yield served


def _open(folder: Path) -> SearchEngine | str:
    """The stages of a release, or the count its requests fall under."""
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
    summary="the log of served requests -> whether their features come out the same again, to the bit",
    config=ReplayServedConfig,
    writes=("served_replay",),
    needs_ray=False,
    always=True,
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
