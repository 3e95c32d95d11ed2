"""Trains torch modules on Ray Train workers, which are restarted after a crash and continue from the last checkpoint.

`intarsia.training` defines the steps. Apart from the masks of dropout, their result does not depend on the number of
workers.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ray
import ray.train
import torch
from ray import cloudpickle
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer, get_device

from intarsia.config import check_range, fingerprint, setting
from intarsia.errors import ConfigError, IntarsiaError
from intarsia.lake import replace_file
from intarsia.onray.progress_file import ProgressWriter, read_progress
from intarsia.onray.session import owns_ray
from intarsia.training.checkpoint import (
    FitProgress,
    load_trained,
    read_checkpoint,
    trained_state,
    write_checkpoint,
)
from intarsia.training.loop import FitConfig, FitResult, OnStep, fit_result, run_fit
from intarsia.training.process_group import DataParallel, FullySharded, ProcessGroup, SingleProcess
from intarsia.training.task import TrainingTask
from intarsia.training.tracking import check_tracker

MakeTask = Callable[[], TrainingTask]
"""Called once in each worker, and again after a restart. It is pickled: let it capture settings and paths, never
models or tables.
"""

_POLL_S = "0.25"  # Ray Train polls its workers every 2 s by default, which delays short fits
_KEPT_CHECKPOINTS = 2  # the newest, and the one before it while the newest is being written
_ERROR, _PROGRESS, _ENDED = "error.pickle", "progress.json", "ended"  # files in the folder of a fit
_FIT, _CHECKPOINTS = "fit", "checkpoint_manager_snapshot.json"  # Ray Train's folder, and in it its list of checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchWorkersConfig:
    """Workers of a torch fit.

    Without dropout the loss curve and the fitted parameters do not depend on the number of workers. Dropout masks are
    drawn by each worker, so with dropout another number of workers acts like another seed.
    """

    num_workers: int = setting("processes that share each batch", 1)
    min_workers: int = setting(
        "start as soon as the cluster has room for this many workers, and add the others later; 0: wait for all",
        0,
        advanced=True,
    )
    cpus_per_worker: float = setting("CPUs of a worker; also the number of torch threads", 1.0, advanced=True)
    gpus_per_worker: float = setting("GPUs of a worker", 0.0)
    shard: bool = setting(
        "shard the parameters, gradients and optimiser state over the workers (FSDP), for a tower too large for "
        "one worker; no effect with one worker",
        False,
        advanced=True,
    )
    max_failures: int = setting(
        "give up after this many crashes of workers; after each, the fit continues from the last checkpoint",
        3,
        advanced=True,
    )

    def __post_init__(self) -> None:
        check_range(self, "num_workers", low=1)
        check_range(self, "min_workers", low=0, high=self.num_workers)
        check_range(self, "gpus_per_worker", "max_failures", low=0)
        if self.cpus_per_worker <= 0:
            raise ValueError(f"cpus_per_worker is {self.cpus_per_worker}; allowed: above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class _WorkerArguments:
    """Arguments of `_run_worker`, the same in every worker."""

    make_task: MakeTask
    config: FitConfig
    logs: Path | None
    folder: Path
    num_threads: int
    shard: bool


def train_on_workers(
    make_task: MakeTask,
    config: FitConfig,
    workers: TorchWorkersConfig,
    storage: Path,
    *,
    on_step: OnStep | None = None,
    logs: Path | None = None,
    resume_as: str = "",
) -> FitResult:
    """Fit the task that `make_task` makes; the workers share each global batch.

    Args:
        make_task: makes the same task in every worker.
        config: settings of the fit.
        workers: number and size of the workers.
        storage: a folder that every node mounts, for checkpoints; nothing is left in it, unless `resume_as` is given.
        on_step: called with the progress about twice a second, from another thread.
        logs: a folder that every node mounts, for TensorBoard.
        resume_as: a name under which a later call continues this fit after a crash, and returns its result at once if
            it has ended. It must change whenever the inputs of the task change. The caller removes its folder in
            `storage`. Empty: every call starts anew.

    Raises:
        ConfigError: the cluster has too few CPUs or GPUs, or the tracker is not installed.
        IntarsiaError: as raised in a worker; the fit is not tried again. It is an ArtifactError if the fit named by
            `resume_as` has other settings.
        TrainingFailedError: more workers crashed than `max_failures` allows, or a worker raised another error.
    """
    check_tracker(config.track)
    _check_resources(workers)
    home = (storage / f".fit-{resume_as or uuid.uuid4().hex}").resolve()
    if (home / _ENDED).exists():
        state, progress = read_checkpoint(home / (home / _ENDED).read_text(encoding="utf-8"))
        # with other settings, run_fit in a worker raises an ArtifactError
        if progress.made_by.partition(" ")[0] == fingerprint(config):
            return fit_result(state, progress)
    home.mkdir(parents=True, exist_ok=True)
    _remove_unreadable(home / _FIT)
    for file in (_ERROR, _PROGRESS):
        (home / file).unlink(missing_ok=True)
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _POLL_S)
    arguments = _WorkerArguments(
        make_task=make_task,
        config=config,
        logs=logs.resolve() if logs is not None else None,
        folder=home,
        num_threads=max(1, int(workers.cpus_per_worker)),
        shard=workers.shard,
    )
    try:
        with read_progress(home / _PROGRESS, on_step):
            result = _trainer(arguments, workers).fit()
        _raise_worker_error(home)
        with result.checkpoint.as_directory() as folder:
            fit = fit_result(*read_checkpoint(Path(folder)))
        if resume_as:
            # relative, because the lake may be moved
            replace_file(home / _ENDED, os.path.relpath(result.checkpoint.path, home).encode())
        return fit
    except TrainingFailedError:
        _raise_worker_error(home)
        raise
    finally:
        if not resume_as:
            shutil.rmtree(home, ignore_errors=True)


def _trainer(arguments: _WorkerArguments, workers: TorchWorkersConfig) -> TorchTrainer:
    is_elastic = 0 < workers.min_workers < workers.num_workers
    return TorchTrainer(
        _run_worker,
        # pickled, so that only the workers import what it refers to, not Ray Train's controller
        train_loop_config={"arguments": cloudpickle.dumps(arguments)},
        scaling_config=ScalingConfig(
            num_workers=(workers.min_workers, workers.num_workers) if is_elastic else workers.num_workers,
            use_gpu=workers.gpus_per_worker > 0,
            resources_per_worker=_resources(workers),
        ),
        run_config=RunConfig(
            name=_FIT,
            storage_path=str(arguments.folder),
            failure_config=FailureConfig(max_failures=workers.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=_KEPT_CHECKPOINTS),
        ),
    )


def _remove_unreadable(fit: Path) -> None:
    """Remove a fit whose list of checkpoints is truncated or of another version of Ray: Ray Train cannot read it."""
    if not (fit / _CHECKPOINTS).exists():
        return
    try:
        written_by = json.loads((fit / _CHECKPOINTS).read_bytes()).get("ray_version")
    except ValueError:
        written_by = None
    if written_by != ray.__version__:
        shutil.rmtree(fit)


def _run_worker(config: dict[str, bytes]) -> None:
    """Runs in each worker, from the newest checkpoint."""
    arguments: _WorkerArguments = cloudpickle.loads(config["arguments"])
    if (arguments.folder / _ERROR).exists():  # do not try again: it would fail again
        return
    torch.set_num_threads(arguments.num_threads)
    try:
        _fit(arguments)
    except IntarsiaError as error:
        replace_file(arguments.folder / _ERROR, pickle.dumps(error))
        raise


def _fit(arguments: _WorkerArguments) -> None:
    group = _process_group(arguments.shard)
    task = arguments.make_task()
    progress = FitProgress()
    if (checkpoint := ray.train.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            state, progress = read_checkpoint(Path(folder))
        load_trained(task.module, state)
        progress.num_resumed += 1

    def keep(progress: FitProgress) -> None:
        state = trained_state(task.module)  # called by every rank: with sharding each one contributes its part
        if group.rank != 0:
            ray.train.report({})
            return
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(Path(folder), state, progress)
            ray.train.report({"step": progress.num_steps}, checkpoint=Checkpoint.from_directory(folder))

    on_step = ProgressWriter(arguments.folder / _PROGRESS) if group.rank == 0 else None
    run_fit(task, arguments.config, group, progress, keep=keep, logs=arguments.logs, on_step=on_step)


def _process_group(shard: bool) -> ProcessGroup:
    if ray.train.get_context().get_world_size() == 1:
        return SingleProcess(str(get_device()))
    return FullySharded(get_device()) if shard else DataParallel(get_device())


def _raise_worker_error(home: Path) -> None:
    if (home / _ERROR).exists():
        error: IntarsiaError = pickle.loads((home / _ERROR).read_bytes())
        raise error


def _resources(workers: TorchWorkersConfig) -> dict[str, float]:
    resources = {"CPU": workers.cpus_per_worker}
    return {**resources, "GPU": workers.gpus_per_worker} if workers.gpus_per_worker else resources


def _check_resources(workers: TorchWorkersConfig) -> None:
    if not owns_ray():  # a cluster may grow
        return
    num_workers = workers.min_workers or workers.num_workers
    for kind, amount in _resources(workers).items():
        if num_workers * amount > (available := ray.cluster_resources().get(kind, 0.0)):
            raise ConfigError(
                f"{num_workers} workers of {amount:g} {kind} need {num_workers * amount:g}, "
                f"this Ray has {available:g}; lower num_workers or {kind.lower()}s_per_worker"
            )
