"""A LambdaMART fit over several workers: whole queries per worker, one model, every worker holding the same trees.

LightGBM's own network does the exchange; Ray Train starts the workers and tells them of each other. All fits of one call share the
workers: to start them (each a process that imports Ray and LightGBM) costs more than a fit.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
from ray.train import Checkpoint, FailureConfig, RunConfig, ScalingConfig
from ray.train.lightgbm import LightGBMTrainer, get_network_params

from intarsia.config import check_range, setting
from intarsia.errors import ConfigError
from intarsia.ranking.lambdamart import LambdaMartConfig, RankerFit, fit_init_score, fit_lambdamart
from intarsia.ranking.rows import RankingRows, pack_queries

_POLL_S = "0.25"  # Ray Train looks at its workers every 2 s by default: on a short fit that is waiting for nothing
_NUM_RESTARTS = 2  # a worker's port is picked free, but another process may take it before LightGBM binds it


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersConfig:
    """The workers of a distributed fit."""

    num_workers: int = setting("processes that share the train queries", 2)
    cpus_per_worker: float = setting("CPUs each reserves", 1.0)

    def __post_init__(self) -> None:
        check_range(self, "num_workers", low=1)
        if self.cpus_per_worker <= 0:
            raise ValueError(f"cpus_per_worker is {self.cpus_per_worker}; allowed: above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributedFit:
    """A model and the digest of the trees each worker holds, by rank: all equal, or the fit was not one."""

    fit: RankerFit
    trees_sha256_by_rank: tuple[str, ...]


def fit_on_workers(
    train: RankingRows,
    validation: RankingRows,
    configs: Sequence[LambdaMartConfig],
    workers: WorkersConfig,
    storage: Path,
) -> list[DistributedFit]:
    """Fit one model per config, each over all workers.

    Args:
        train: rows of all train queries; they are packed into one shard per worker.
        validation: rows every worker judges its trees by.
        configs: settings of each fit.
        workers: how many, how large.
        storage: a folder that every node mounts, for what the workers hand back; left as it was.

    Raises:
        ConfigError: more workers than train queries, or than the cluster has CPUs for.
        RuntimeError: two workers hold different trees.
    """
    _check_resources(workers, train.num_queries)
    shards = [train.of_queries(shard) for shard in pack_queries(np.diff(train.offsets_G), workers.num_workers)]
    place = storage / f".fit-{uuid.uuid4().hex}"
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _POLL_S)
    try:
        result = LightGBMTrainer(
            _fit_shard,
            train_loop_config={
                "shards": [ray.put(shard) for shard in shards],
                "validation": ray.put(validation),
                "configs": list(configs),
                "init_scores": [fit_init_score(train, config) for config in configs],
            },
            scaling_config=ScalingConfig(
                num_workers=workers.num_workers, resources_per_worker={"CPU": workers.cpus_per_worker}
            ),
            run_config=RunConfig(
                name="ranker",
                storage_path=str(place.resolve()),
                failure_config=FailureConfig(max_failures=_NUM_RESTARTS),
            ),
        ).fit()
        with result.checkpoint.as_directory() as folder:
            return _collect(Path(folder), len(configs), workers.num_workers)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _fit_shard(given: dict[str, Any]) -> None:
    """What each worker runs: its shard's part of every fit; rank 0 hands back the models, every rank the digests of its own."""
    rank = ray.train.get_context().get_world_rank()
    shard, validation = ray.get([given["shards"][rank], given["validation"]])
    network = get_network_params() if len(given["shards"]) > 1 else None
    fits = fit_lambdamart(shard, validation, given["configs"], network, given["init_scores"])
    with tempfile.TemporaryDirectory() as folder:
        digests = [fit.model.trees_sha256 for fit in fits]
        Path(folder, f"digests-{rank}.json").write_text(json.dumps(digests), encoding="utf-8")
        for number, fit in enumerate(fits if rank == 0 else []):
            Path(folder, f"fit-{number}.json").write_text(json.dumps(fit.to_jsonable()), encoding="utf-8")
        ray.train.report({}, checkpoint=Checkpoint.from_directory(folder))


def _collect(folder: Path, num_fits: int, num_workers: int) -> list[DistributedFit]:
    digests = [json.loads((folder / f"digests-{rank}.json").read_text("utf-8")) for rank in range(num_workers)]
    found = []
    for number in range(num_fits):
        by_rank = tuple(digests[rank][number] for rank in range(num_workers))
        refuse_different_trees(by_rank)
        fit = RankerFit.from_jsonable(json.loads((folder / f"fit-{number}.json").read_text("utf-8")))
        found.append(DistributedFit(fit=fit, trees_sha256_by_rank=by_rank))
    return found


def refuse_different_trees(by_rank: Sequence[str]) -> None:
    """Stop when the workers did not fit one model.

    Raises:
        RuntimeError: two ranks' digests differ.
    """
    if len(set(by_rank)) > 1:
        held = ", ".join(f"rank {rank}: {digest[:12]}" for rank, digest in enumerate(by_rank))
        raise RuntimeError(f"the workers hold different trees ({held}); each has fitted its own shard only")


def _check_resources(workers: WorkersConfig, num_queries: int) -> None:
    if num_queries < workers.num_workers:
        raise ConfigError(
            f"num_workers is {workers.num_workers} for {num_queries} train queries; allowed: at most one worker per query"
        )
    wanted, there = workers.num_workers * workers.cpus_per_worker, ray.cluster_resources().get("CPU", 0.0)
    if wanted > there:
        raise ConfigError(
            f"{workers.num_workers} workers of {workers.cpus_per_worker} CPUs need {wanted:g}, the cluster has {there:g}; "
            "lower num_workers or cpus_per_worker"
        )
