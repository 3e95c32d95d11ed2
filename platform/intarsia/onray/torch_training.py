"""A torch fit over several workers: Ray Train starts them, restarts them after a death, and keeps their checkpoints.

What a step is, and why its result does not depend on the number of workers (but for the masks of dropout), is `encoders/learning/`'s
matter.
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
from intarsia.onray.progress_file import ProgressWriter, read_progress, write_whole
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
"""Runs once in each worker, and again after a restart; let it capture settings and paths, never models or tables."""

_POLL_S = "0.25"  # Ray Train looks at its workers every 2 s by default: on a short fit that is waiting for nothing
_KEPT_CHECKPOINTS = 2  # the newest, and the one before while it is being written
_REFUSAL, _TOLD, _ENDED = "refusal.pickle", "progress.json", "ended"
_FIT, _LIST = "fit", "checkpoint_manager_snapshot.json"  # Ray Train's folder, and in it its list of checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchWorkersConfig:
    """The workers of a torch fit.

    Without dropout the curve and the fitted parameters do not depend on their number. A module that drops out draws its masks by worker:
    with another number it sees other masks, as with another seed, and the curves agree in the mean alone.
    """

    num_workers: int = setting("processes that share each batch", 1)
    min_workers: int = setting(
        "a cluster that has room for so many starts with them and grows later; 0 waits for all", 0
    )
    cpus_per_worker: float = setting("CPUs each reserves; torch uses as many threads", 1.0)
    gpus_per_worker: float = setting("GPUs each reserves", 0.0)
    shard: bool = setting(
        "each holds a part of the parameters, the gradients and the optimiser's state, and gets a layer's others while it computes: for a "
        "tower that is too large for one; does nothing with one worker",
        False,
    )
    max_failures: int = setting(
        "deaths of workers after which the fit is given up; each goes on from the last checkpoint", 3
    )

    def __post_init__(self) -> None:
        check_range(self, "num_workers", low=1)
        check_range(self, "min_workers", low=0, high=self.num_workers)
        check_range(self, "gpus_per_worker", "max_failures", low=0)
        if self.cpus_per_worker <= 0:
            raise ValueError(f"cpus_per_worker is {self.cpus_per_worker}; allowed: above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What every worker is told."""

    make_learner: MakeTask
    config: FitConfig
    logs: Path | None
    place: Path
    num_threads: int
    shard: bool


def train_on_workers(
    make_learner: MakeTask,
    config: FitConfig,
    workers: TorchWorkersConfig,
    storage: Path,
    *,
    on_step: OnStep | None = None,
    logs: Path | None = None,
    resume_as: str = "",
) -> FitResult:
    """Fit what `make_learner` makes, each global batch shared by all workers.

    Args:
        make_learner: makes the same task in every worker.
        config: how it is fitted.
        workers: how many, how large.
        storage: a folder that every node mounts, for checkpoints; left as it was, unless the fit may be resumed.
        on_step: told of the progress about twice a second, from another thread than the caller's.
        logs: a folder that every node mounts, for TensorBoard.
        resume_as: a name under which a later call goes on with this fit, should it fail or its caller die, and returns at once when it
            had ended; it must change with whatever the learner reads. What it keeps in `storage` is the caller's to remove. Empty: every
            call starts anew.

    Raises:
        ConfigError: the cluster has not so many CPUs or GPUs, or the tracker is not installed.
        IntarsiaError: the one that a worker raised: it is not tried again. Where `resume_as` names a fit of other settings it is an
            ArtifactError.
        TrainingFailedError: more workers died than `max_failures` allows, or one raised another error every time.
    """
    check_tracker(config.track)
    _check_resources(workers)
    place = (storage / f".fit-{resume_as or uuid.uuid4().hex}").resolve()
    if (place / _ENDED).exists():
        state, progress = read_checkpoint(place / (place / _ENDED).read_text(encoding="utf-8"))
        if progress.made_by.partition(" ")[0] == fingerprint(config):  # else its worker refuses it with what to do
            return fit_result(state, progress)
    place.mkdir(parents=True, exist_ok=True)
    _remove_unreadable(place / _FIT)
    for left in (_REFUSAL, _TOLD):
        (place / left).unlink(missing_ok=True)
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _POLL_S)
    given = _Given(
        make_learner=make_learner,
        config=config,
        logs=logs.resolve() if logs is not None else None,
        place=place,
        num_threads=max(1, int(workers.cpus_per_worker)),
        shard=workers.shard,
    )
    try:
        with read_progress(place / _TOLD, on_step):
            result = _trainer(given, workers).fit()
        _raise_refusal(place)
        with result.checkpoint.as_directory() as folder:
            found = fit_result(*read_checkpoint(Path(folder)))
        if resume_as:
            write_whole(place / _ENDED, os.path.relpath(result.checkpoint.path, place).encode())  # a lake may be moved
        return found
    except TrainingFailedError:
        _raise_refusal(place)
        raise
    finally:
        if not resume_as:
            shutil.rmtree(place, ignore_errors=True)


def _trainer(given: _Given, workers: TorchWorkersConfig) -> TorchTrainer:
    is_elastic = 0 < workers.min_workers < workers.num_workers
    return TorchTrainer(
        _work,
        train_loop_config={
            "given": cloudpickle.dumps(given)
        },  # opened by the workers alone, not by Ray Train's controller too
        scaling_config=ScalingConfig(
            num_workers=(workers.min_workers, workers.num_workers) if is_elastic else workers.num_workers,
            use_gpu=workers.gpus_per_worker > 0,
            resources_per_worker=_resources(workers),
        ),
        run_config=RunConfig(
            name=_FIT,
            storage_path=str(given.place),
            failure_config=FailureConfig(max_failures=workers.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=_KEPT_CHECKPOINTS),
        ),
    )


def _remove_unreadable(fit: Path) -> None:
    """Remove a fit whose list of checkpoints Ray Train would refuse: a kill cut it short, or another version of Ray wrote it."""
    if not (fit / _LIST).exists():
        return
    try:
        written_by = json.loads((fit / _LIST).read_bytes()).get("ray_version")
    except ValueError:
        written_by = None
    if written_by != ray.__version__:
        shutil.rmtree(fit)


def _work(told: dict[str, bytes]) -> None:
    """What each worker runs, from the newest checkpoint on."""
    given: _Given = cloudpickle.loads(told["given"])
    if (given.place / _REFUSAL).exists():  # it would only be refused again
        return
    torch.set_num_threads(given.num_threads)
    try:
        _fit(given)
    except IntarsiaError as error:
        write_whole(given.place / _REFUSAL, pickle.dumps(error))
        raise


def _fit(given: _Given) -> None:
    crew = _crew(given.shard)
    learner = given.make_learner()
    progress = FitProgress()
    if (checkpoint := ray.train.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            state, progress = read_checkpoint(Path(folder))
        load_trained(learner.module, state)
        progress.num_resumed += 1

    def keep(progress: FitProgress) -> None:
        state = trained_state(learner.module)  # where it is sharded each worker gives its part
        if crew.rank != 0:
            ray.train.report({})
            return
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(Path(folder), state, progress)
            ray.train.report({"step": progress.num_steps}, checkpoint=Checkpoint.from_directory(folder))

    tell = ProgressWriter(given.place / _TOLD) if crew.rank == 0 else None
    run_fit(learner, given.config, crew, progress, keep=keep, logs=given.logs, on_step=tell)


def _crew(shard: bool) -> ProcessGroup:
    if ray.train.get_context().get_world_size() == 1:
        return SingleProcess(str(get_device()))
    return FullySharded(get_device()) if shard else DataParallel(get_device())


def _raise_refusal(place: Path) -> None:
    if (place / _REFUSAL).exists():
        error: IntarsiaError = pickle.loads((place / _REFUSAL).read_bytes())
        raise error


def _resources(workers: TorchWorkersConfig) -> dict[str, float]:
    needed = {"CPU": workers.cpus_per_worker}
    return {**needed, "GPU": workers.gpus_per_worker} if workers.gpus_per_worker else needed


def _check_resources(workers: TorchWorkersConfig) -> None:
    if not owns_ray():  # a cluster may grow
        return
    least = workers.min_workers or workers.num_workers
    for kind, each in _resources(workers).items():
        if least * each > (there := ray.cluster_resources().get(kind, 0.0)):
            raise ConfigError(
                f"{least} workers of {each:g} {kind} need {least * each:g}, this Ray has {there:g}; "
                f"lower num_workers or {kind.lower()}s_per_worker"
            )
