"""What the served graph can be told: which release, which topology, how long a stage may take, how much a request may ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from intarsia.config import build, check_range, setting, to_jsonable
from intarsia.release.pointer import Pointer

LIVE = "live"
Topology = Literal["fused", "composed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """How long each step of a request may take, ms; 0 does without the step. What happens then is in `answer.py`.

    A late step goes on in its thread, unheard.
    """

    thread_ms: int = setting("a free thread of the ingress; late: 503, too much is asked at once", 1_000)
    text_encoder_ms: int = setting("the query's words to a vector; late: words without the vector", 250)
    image_encoder_ms: int = setting("the query's picture to a vector; late: the words alone", 1_000)
    retriever_ms: int = setting("all retrievers; late: 503, there is nothing to show", 1_000)
    fuser_ms: int = setting("fusion; late: reciprocal ranks", 500)
    ranker_ms: int = setting("features and ranker; late: the fused order", 500)
    explain_ms: int = setting("added to ranker_ms for a request that asks for an explanation", 2_000)
    release_ms: int = setting("opening the release that a stage has moved on to; late: 503, and opening goes on", 1_000)

    def __post_init__(self) -> None:
        _at_least(self, 0)
        if self.thread_ms < 1:
            raise ValueError(f"thread_ms is {self.thread_ms}; allowed: 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one request may ask; beyond it is a 4xx that says so."""

    max_body_bytes: int = setting("whole request body", 8_000_000)
    max_image_bytes: int = setting("the query's picture file", 5_000_000)
    max_image_pixels: int = setting("width x height of the query's picture, read from its header", 25_000_000)
    max_hits: int = setting("`limit` of one page", 100)
    max_events: int = setting("events of one POST /v1/events", 500)

    def __post_init__(self) -> None:
        _at_least(self, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """How many processes of each deployment, and what each asks of Ray; retriever, fuser and ranker exist in `composed` only.

    A fusion computes for 0.1 to 1.5 ms and a call to another process costs 3 to 5: it has one of its own only where that is asked for.
    """

    ingress: int = setting("ingress processes", 1)
    retriever: int = setting("retriever processes", 1)
    fuser: int = setting("fuser processes; 0: each ingress fuses, and holds what the fusion reads of the products", 0)
    ranker: int = setting("ranker processes", 1)
    num_cpus: float = setting("logical CPUs that Ray reserves for each process", 0.5)
    max_ongoing_requests: int = setting("requests one process works on at once; more wait in front of it", 64)
    stage_threads: int = setting("threads of an ingress that compute; a late step holds one until it is done", 2)

    def __post_init__(self) -> None:
        counts = (self.ingress, self.retriever, self.ranker, self.max_ongoing_requests, self.stage_threads)
        if min(counts) < 1 or self.fuser < 0 or self.num_cpus < 0:
            raise ValueError(
                f"replicas are {to_jsonable(self)}; allowed: counts of 1 or more, fuser and num_cpus of 0 or more"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingConfig:
    """The arguments of `serve_apps.deployments.graph:build`."""

    lake: Path = setting("folder of the tables and releases; on a cluster one that every node mounts")
    topology: Topology = setting(
        "`fused`: all stages in the ingress process; `composed`: retriever, ranker and, if there are replicas of it, fuser are deployments",
        "fused",
    )
    release: str = setting("release id to stay on, or `live` to follow the pointer while serving", LIVE)
    follow_s: float = setting("seconds between two looks at the live pointer; 0 never looks again", 2.0)
    journal: Path | None = setting("folder of the feedback journal; nothing means <lake>/journal", None)
    served: Path | None = setting("folder of the log of served requests; nothing means <lake>/served", None)
    served_share: float = setting("share of requests that are logged, 0 to 1, chosen by request id; 0 logs none", 1.0)
    budgets: Budgets = setting("time", factory=Budgets)
    limits: Limits = setting("size", factory=Limits)
    replicas: Replicas = setting("processes", factory=Replicas)

    def __post_init__(self) -> None:
        if self.follow_s < 0:
            raise ValueError(f"follow_s is {self.follow_s}; allowed: 0 or more")
        check_range(self, "served_share", low=0, high=1)

    @property
    def releases(self) -> Path:
        """The folder with one folder per release and the pointer."""
        return self.lake / "releases"

    def release_folder(self) -> Path:
        """The folder of the release to serve now.

        Raises:
            ArtifactError: it follows the pointer, and nothing is live.
        """
        return Pointer(self.releases).live_folder() if self.release == LIVE else self.releases / self.release

    @property
    def journal_folder(self) -> Path:
        """Where feedback is written."""
        return self.journal or self.lake / "journal"

    @property
    def served_folder(self) -> Path:
        """Where served requests are logged."""
        return self.served or self.lake / "served"


def serving_config(args: Mapping[str, Any]) -> ServingConfig:
    """A config from what `serve run … key=value` or a Serve config file gives; `budgets.ranker_ms=40` reaches a nested setting.

    Raises:
        ConfigError: an unknown setting (with the nearest known one), a missing one, or a value that is not allowed.
    """
    values: dict[str, Any] = {}
    for key, value in args.items():
        *groups, name = key.split(".")
        place = values
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = yaml.safe_load(value) if isinstance(value, str) else value
    for name in ("lake", "journal", "served", "release"):
        if name in values and values[name] is not None:
            values[name] = str(args[name])  # a folder or release called 2026 is still a name
    return build(ServingConfig, values)


def _at_least(config: object, least: int) -> None:
    for name, value in to_jsonable(config).items():
        if value < least:
            raise ValueError(f"{name} is {value}; allowed: {least} or more")
