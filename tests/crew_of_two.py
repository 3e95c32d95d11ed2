"""Fits that two processes share over gloo, without a Ray around them: several one after the other, so that torch is loaded once."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.learning.checkpoint import Progress
from intarsia.encoders.learning.crew import Together
from intarsia.encoders.learning.dropout import set_dropout
from intarsia.encoders.learning.learner import Learner
from intarsia.encoders.learning.loop import FitConfig, Fitted, run_fit
from intarsia.encoders.learning.losses import LossConfig
from intarsia.encoders.learning.pairs import TextExample
from intarsia.encoders.learning.text_pairs import TextPairsConfig, TextPairsLearner
from intarsia.encoders.open import open_text_encoder
from intarsia.encoders.torch_text import TorchTextEncoder
from intarsia.errors import IntarsiaError
from tests.judged_shop import TITLES, grade_of

SIZE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFit:
    """One fit; what it gives is the result of rank 0, or what it raised."""

    make: Callable[[], Learner]
    config: FitConfig


def fit_in_two(fits: Mapping[str, SharedFit], folder: Path) -> dict[str, Fitted | IntarsiaError]:
    """What each fit gives, by the names of the fits; `folder` is where the two meet."""
    spawn = multiprocessing.get_context("spawn")
    crew = [spawn.Process(target=_work, args=(rank, fits, folder)) for rank in range(SIZE)]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
    assert [process.exitcode for process in crew] == [0] * SIZE
    found: dict[str, Fitted | IntarsiaError] = pickle.loads((folder / "found").read_bytes())
    return found


def _work(rank: int, fits: Mapping[str, SharedFit], folder: Path) -> None:
    warnings.simplefilter("ignore", FutureWarning)  # torch means to rename an argument of DistributedDataParallel
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", rank=rank, world_size=SIZE, init_method=f"file://{folder}/meeting")
    found: dict[str, Fitted | IntarsiaError] = {}
    for name, fit in fits.items():
        crew = Together(torch.device("cpu"))
        try:
            found[name] = run_fit(fit.make(), fit.config, crew, Progress(), keep=lambda progress: None)
        except IntarsiaError as error:
            found[name] = error
    if rank == 0:
        (folder / "found").write_bytes(pickle.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def tower_learner(dropout: float) -> TextPairsLearner:
    """A small tower that learns the shop's orders and its temperature."""
    encoder = open_text_encoder(TextEncoderConfig(model="scratch:bert:3", max_tokens=24))
    assert isinstance(encoder, TorchTextEncoder)
    set_dropout(encoder.tower, dropout)
    examples = [
        TextExample(
            anchor=f"a {asked}",
            texts=TITLES,
            grades=tuple(grade_of(asked, title) for title in TITLES),
            groups=("",) * len(TITLES),
        )
        for asked in TITLES
    ]
    config = TextPairsConfig(texts_per_anchor=4, loss=LossConfig(learn_temperature=True))
    return TextPairsLearner(encoder, examples, config)
