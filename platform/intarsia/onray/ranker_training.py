"""Fits LambdaMART on several workers as one model.

Each worker has a shard of whole queries. LightGBM exchanges the histograms over its own network, so all workers hold
the same trees; Ray Train starts the workers and passes their addresses. All fits of one call share the workers,
because starting them (each is a process that imports Ray and LightGBM) takes longer than a fit.
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

_POLL_S = "0.25"  # Ray Train polls its workers every 2 s by default, which delays short fits
_NUM_RESTARTS = 2  # a free port is chosen for each worker, but another process may bind it before LightGBM does


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerWorkersConfig:
    """Workers of a distributed fit."""

    num_workers: int = setting("processes that share the train queries", 2)
    cpus_per_worker: float = setting("CPUs that each reserves", 1.0, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "num_workers", low=1)
        if self.cpus_per_worker <= 0:
            raise ValueError(f"cpus_per_worker is {self.cpus_per_worker}; allowed: above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributedFit:
    """A fitted model, and the digest of the trees of each worker, by rank; all are equal."""

    fit: RankerFit
    trees_sha256_by_rank: tuple[str, ...]


def fit_on_workers(
    train: RankingRows,
    validation: RankingRows,
    configs: Sequence[LambdaMartConfig],
    workers: RankerWorkersConfig,
    storage: Path,
) -> list[DistributedFit]:
    """Fit one model per config, each over all workers.

    Args:
        train: rows of all train queries; split into one shard of whole queries per worker.
        validation: rows on which every worker measures its trees.
        configs: settings of each fit.
        workers: number and size of the workers.
        storage: a folder that every node mounts, for the workers' results; nothing is left in it.

    Raises:
        ConfigError: there are more workers than train queries, or the cluster has too few CPUs for them.
        RuntimeError: two workers have different trees.
    """
    _check_resources(workers, train.num_queries)
    shards = [train.of_queries(shard) for shard in pack_queries(np.diff(train.offsets_G), workers.num_workers)]
    results = storage / f".fit-{uuid.uuid4().hex}"
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
                storage_path=str(results.resolve()),
                failure_config=FailureConfig(max_failures=_NUM_RESTARTS),
            ),
        ).fit()
        with result.checkpoint.as_directory() as folder:
            return _collect(Path(folder), len(configs), workers.num_workers)
    finally:
        shutil.rmtree(results, ignore_errors=True)


def _fit_shard(arguments: dict[str, Any]) -> None:
    """Runs in each worker: fit all models. Rank 0 reports the models, every rank the digests of its trees."""
    rank = ray.train.get_context().get_world_rank()
    shard, validation = ray.get([arguments["shards"][rank], arguments["validation"]])
    network = get_network_params() if len(arguments["shards"]) > 1 else None
    fits = fit_lambdamart(shard, validation, arguments["configs"], network, arguments["init_scores"])
    with tempfile.TemporaryDirectory() as folder:
        digests = [fit.model.trees_sha256 for fit in fits]
        Path(folder, f"digests-{rank}.json").write_text(json.dumps(digests), encoding="utf-8")
        for number, fit in enumerate(fits if rank == 0 else []):
            Path(folder, f"fit-{number}.json").write_text(json.dumps(fit.to_jsonable()), encoding="utf-8")
        ray.train.report({}, checkpoint=Checkpoint.from_directory(folder))


def _collect(folder: Path, num_fits: int, num_workers: int) -> list[DistributedFit]:
    digests = [json.loads((folder / f"digests-{rank}.json").read_text("utf-8")) for rank in range(num_workers)]
    fits = []
    for number in range(num_fits):
        by_rank = tuple(digests[rank][number] for rank in range(num_workers))
        check_equal_trees(by_rank)
        fit = RankerFit.from_jsonable(json.loads((folder / f"fit-{number}.json").read_text("utf-8")))
        fits.append(DistributedFit(fit=fit, trees_sha256_by_rank=by_rank))
    return fits


def check_equal_trees(digests_by_rank: Sequence[str]) -> None:
    """Check that the workers fitted one model.

    Raises:
        RuntimeError: the digests of two ranks differ.
    """
    if len(set(digests_by_rank)) > 1:
        digests = ", ".join(f"rank {rank}: {digest[:12]}" for rank, digest in enumerate(digests_by_rank))
        raise RuntimeError(f"the workers hold different trees ({digests}); each has fitted its own shard only")


def _check_resources(workers: RankerWorkersConfig, num_queries: int) -> None:
    if num_queries < workers.num_workers:
        raise ConfigError(
            f"num_workers is {workers.num_workers} for {num_queries} train queries; "
            "allowed: at most one worker per query"
        )
    required, available = workers.num_workers * workers.cpus_per_worker, ray.cluster_resources().get("CPU", 0.0)
    if required > available:
        raise ConfigError(
            f"{workers.num_workers} workers of {workers.cpus_per_worker} CPUs need {required:g}, "
            f"the cluster has {available:g}; lower num_workers or cpus_per_worker"
        )
