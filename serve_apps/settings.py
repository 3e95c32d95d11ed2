"""Settings of serving: release, topology, deadlines, request limits, replicas."""

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
    """The deadline of each step of a request, ms; 0 disables the step. `service/search_service.py` lists the fallbacks.

    A step that misses its deadline keeps its thread until it returns; its result is discarded.
    """

    thread_ms: int = setting("wait for a free worker thread of the ingress; then 503", 1_000, advanced=True)
    text_encoder_ms: int = setting("encode the query's text; then search by words without their vector", 250)
    image_encoder_ms: int = setting("encode the query's image; then search by words only", 1_000)
    retriever_ms: int = setting("all retrievers; then 503", 1_000)
    fuser_ms: int = setting("fusion; then reciprocal rank fusion", 500)
    ranker_ms: int = setting("features and ranker; then the fused order", 500)
    explain_ms: int = setting("added to ranker_ms for a request with `explain`", 2_000, advanced=True)
    release_ms: int = setting(
        "open a release that another process already serves; then 503, and opening continues", 1_000, advanced=True
    )

    def __post_init__(self) -> None:
        _check_minimum(self, 0)
        if self.thread_ms < 1:
            raise ValueError(f"thread_ms is {self.thread_ms}; allowed: 1 or more")

    @property
    def shortest_step_ms(self) -> int:
        """The shortest deadline of the enabled steps."""
        budgets_ms = (self.text_encoder_ms, self.image_encoder_ms, self.retriever_ms, self.fuser_ms, self.ranker_ms)
        return min((budget_ms for budget_ms in budgets_ms if budget_ms), default=self.thread_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest request that is accepted; a larger one gets 413 or 422."""

    max_body_bytes: int = setting("whole request body", 8_000_000, advanced=True)
    max_image_bytes: int = setting("image file of a query", 5_000_000, advanced=True)
    max_image_pixels: int = setting(
        "width x height of a query's image, read from its header", 25_000_000, advanced=True
    )
    max_hits: int = setting("largest `limit` of a page", 100)
    max_events: int = setting("events of one POST /v1/events", 500, advanced=True)

    def __post_init__(self) -> None:
        _check_minimum(self, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """Replica counts and resources of the deployments; retriever, fuser and ranker are used by `composed` only.

    Fusion computes for 0.1 to 1.5 ms and a call to another process costs 3 to 5 ms, so by default the ingress fuses.
    """

    ingress: int = setting("ingress replicas", 1)
    retriever: int = setting("retriever replicas", 1)
    fuser: int = setting("fuser replicas; 0: the ingress fuses", 0)
    ranker: int = setting("ranker replicas", 1)
    num_cpus: float = setting("logical CPUs that Ray reserves for each replica", 0.5)
    max_ongoing_requests: int = setting(
        "requests that one replica processes at once; more are queued", 64, advanced=True
    )
    stage_threads: int = setting(
        "worker threads of an ingress; a step that missed its deadline holds one until it returns", 2, advanced=True
    )

    def __post_init__(self) -> None:
        counts = (self.ingress, self.retriever, self.ranker, self.max_ongoing_requests, self.stage_threads)
        if min(counts) < 1 or self.fuser < 0 or self.num_cpus < 0:
            raise ValueError(
                f"replicas are {to_jsonable(self)}; allowed: counts of 1 or more, fuser and num_cpus of 0 or more"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingConfig:
    """The arguments of `serve_apps.deployments.graph:build_app`."""

    lake: Path = setting("folder of the lake; on a cluster, one that every node mounts")
    topology: Topology = setting(
        "`fused`: all stages in the ingress process; `composed`: retriever, ranker, optionally fuser are deployments",
        "fused",
    )
    release: str = setting("id of the release to serve, or `live` to follow the live pointer", LIVE)
    refresh_s: float = setting("seconds between two reads of the live pointer; 0: never", 2.0, advanced=True)
    journal: Path | None = setting("folder of the feedback journal (default: <lake>/journal)", None, advanced=True)
    served: Path | None = setting("folder of the log of served requests (default: <lake>/served)", None, advanced=True)
    served_share: float = setting("share of requests that are logged, 0 to 1, chosen by request id", 1.0)
    budgets: Budgets = setting("deadline of each step", factory=Budgets)
    limits: Limits = setting("request size limits", factory=Limits)
    replicas: Replicas = setting("replica counts and resources", factory=Replicas)

    def __post_init__(self) -> None:
        if self.refresh_s < 0:
            raise ValueError(f"refresh_s is {self.refresh_s}; allowed: 0 or more")
        check_range(self, "served_share", low=0, high=1)

    @property
    def releases(self) -> Path:
        """The folder with the releases and the live pointer."""
        return self.lake / "releases"

    def release_folder(self) -> Path:
        """Return the folder of the release to serve now.

        Raises:
            ArtifactError: `release` is `live`, and no release is live.
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
    """Build the config from `serve run … key=value` or the `args` of a Serve config file.

    >>> serving_config({"lake": "lake/demo", "budgets.ranker_ms": "40"}).budgets.ranker_ms
    40

    Raises:
        ConfigError: an unknown setting (with the nearest known one), a missing one, or a value that is not allowed.
    """
    values: dict[str, Any] = {}
    for key, value in args.items():
        *groups, name = key.split(".")
        group_values = values
        for group in groups:
            group_values = group_values.setdefault(group, {})
        group_values[name] = yaml.safe_load(value) if isinstance(value, str) else value
    for name in ("lake", "journal", "served", "release"):
        if name in values and values[name] is not None:
            values[name] = str(args[name])  # a folder or release called 2026 is still a name
    return build(ServingConfig, values)


def _check_minimum(config: object, minimum: int) -> None:
    for name, value in to_jsonable(config).items():
        if value < minimum:
            raise ValueError(f"{name} is {value}; allowed: {minimum} or more")
