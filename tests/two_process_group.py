"""Fits shared by two processes over gloo, without Ray; several in a row, so that torch is imported once."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from scipy.sparse import csr_matrix
from torch import nn
from torch.distributed.tensor import DTensor

from intarsia.encoders.aligned import frequent_words
from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.open import open_text_encoder
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.errors import IntarsiaError
from intarsia.training.adapters import AdapterConfig, Adapters, set_dropout
from intarsia.training.alignment import AlignConfig, AlignTask, AlignTrainingData, EncodedTexts
from intarsia.training.checkpoint import FitProgress, State, load_trained, trained_state
from intarsia.training.loop import FitConfig, FitResult, run_fit
from intarsia.training.losses import LossConfig
from intarsia.training.masked_language_model import MaskedLanguageModelConfig, MaskedLanguageModelTask
from intarsia.training.process_group import DataParallel, FullySharded
from intarsia.training.task import TrainingTask
from intarsia.training.text_examples import TextExample
from intarsia.training.text_folder import mask_id_of
from intarsia.training.text_pairs import EncodeTexts, TextPairsConfig, TextPairsTask
from tests.judged_shop import TITLES, grade_of
from tests.word_matching import Towers, WordMatching

SIZE = 2
NUM_STEPS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFit:
    """One fit; its outcome is the result of rank 0, or the error it raised."""

    make: Callable[[], TrainingTask]
    config: FitConfig
    shard: bool = False
    goes_on_from: int = 0
    """Steps after which it is stopped and resumed from its checkpoint; 0: never."""


def fit_in_two(fits: Mapping[str, SharedFit], folder: Path) -> dict[str, FitResult | IntarsiaError]:
    """The outcome of each fit by name; the processes find each other through `folder`."""
    spawn = multiprocessing.get_context("spawn")
    group = [spawn.Process(target=_work, args=(rank, fits, folder)) for rank in range(SIZE)]
    for process in group:
        process.start()
    for process in group:
        process.join()
    assert [process.exitcode for process in group] == [0] * SIZE
    results: dict[str, FitResult | IntarsiaError] = pickle.loads((folder / "results").read_bytes())
    return results


def _work(rank: int, fits: Mapping[str, SharedFit], folder: Path) -> None:
    warnings.simplefilter("ignore", FutureWarning)  # torch means to rename an argument of DistributedDataParallel
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", rank=rank, world_size=SIZE, init_method=f"file://{folder}/rendezvous")
    results: dict[str, FitResult | IntarsiaError] = {}
    for name, fit in fits.items():
        group = (FullySharded if fit.shard else DataParallel)(torch.device("cpu"))
        try:
            results[name] = _fit(fit, group)
        except IntarsiaError as error:
            results[name] = error
    if rank == 0:
        (folder / "results").write_bytes(pickle.dumps(results))
    dist.barrier()
    dist.destroy_process_group()


def _fit(fit: SharedFit, group: DataParallel) -> FitResult:
    task, progress = fit.make(), FitProgress()
    kept: dict[int, tuple[State, FitProgress]] = {}

    def keep(progress: FitProgress) -> None:
        kept[progress.num_steps] = trained_state(task.module), copy.deepcopy(progress)

    fitted = run_fit(task, fit.config, group, progress, keep=keep)
    if not fit.goes_on_from:
        return fitted
    state, progress = kept[fit.goes_on_from]
    task = fit.make()
    load_trained(task.module, state)
    return run_fit(task, fit.config, group, progress, keep=lambda progress: None)


def tower_task(
    dropout: float, kind: str = "bert", adapter: AdapterConfig | None = None, r_drop: float = 0.0
) -> TextPairsTask:
    """A task of a small tower with a trained temperature; its metric is the distance of the first two titles."""
    encoder = open_text_encoder(TextEncoderConfig(model=f"untrained:{kind}:3", max_tokens=24))
    assert isinstance(encoder, TorchTextEncoder)
    set_dropout(encoder.tower, dropout)
    torch.manual_seed(5)
    adapters = Adapters(encoder.tower, adapter or AdapterConfig(), NUM_STEPS)
    examples = [
        TextExample(
            anchor=f"a {query}",
            texts=TITLES,
            grades=tuple(grade_of(query, title) for title in TITLES),
            groups=("",) * len(TITLES),
        )
        for query in TITLES
    ]
    config = TextPairsConfig(texts_per_anchor=4, loss=LossConfig(learn_temperature=True, r_drop=r_drop))
    return TextPairsTask(encoder, examples, config, adapters=adapters, figures=_far_apart)


def _far_apart(encode: EncodeTexts) -> dict[str, float]:
    one, other = encode(TITLES[:2])
    return {"apart": 1.0 - float(one @ other)}


def masked_language_model_task() -> MaskedLanguageModelTask:
    """A task whose output layer shares the weights of the word embeddings."""
    encoder = open_text_encoder(TextEncoderConfig(model="untrained:bert:3", max_tokens=24))
    assert isinstance(encoder, TorchTextEncoder)
    set_dropout(encoder.tower, 0.0)
    torch.manual_seed(5)
    return MaskedLanguageModelTask(encoder, TITLES, mask_id_of(encoder), MaskedLanguageModelConfig(held_out=4), seed=1)


def align_task() -> AlignTask:
    """Alignment of titles and images whose vectors are the unit axes; its metrics use the exported arrays."""
    number = len(TITLES)
    training_data = AlignTrainingData(
        titles=EncodedTexts(words=TITLES, vectors_NT=np.ones((number, 2), np.float32)),
        images_VE=np.eye(number, dtype=np.float32),
        owners_V=np.arange(number),
        groups_N=np.arange(number),
        held_out_N=np.arange(number) % 4 == 0,
        queries=EncodedTexts(words=[], vectors_NT=np.ones((0, 2), np.float32)),
        query_ids=[],
        gains_QN=csr_matrix((0, number)),
    )
    return AlignTask(training_data, AlignConfig(), frequent_words(TITLES, min_texts=2, max_words=100), seed=3)


class ShiftedTowers(Towers):
    """Towers with a parameter that is applied to the rows of each worker."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        self.shift = nn.Parameter(torch.tensor(0.1))

    def forward(self, left_b: torch.Tensor, right_b: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = super().forward(left_b, right_b)
        return {**outputs, "left": outputs["left"] + self.shift * left_b[:, None]}


class MeasuresItsShard(WordMatching):
    """Starts with other weights on rank 1; its metric is the share of the parameters in this worker between steps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.module = ShiftedTowers()
        if dist.is_initialized() and dist.get_rank() == 1:
            with torch.no_grad():
                self.module.words.weight.add_(1.0)
                self.module.seen.add_(1.0)
        self._local_share = 0.0

    def after_step(self, step: int, num_steps: int) -> None:
        parameters = list(self.module.parameters())
        num_local = sum((p.to_local() if isinstance(p, DTensor) else p).numel() for p in parameters)
        self._local_share = num_local / sum(p.numel() for p in parameters)

    def measure(self) -> Mapping[str, float]:
        return {"local_share": self._local_share}


class SharesALayersWeight(WordMatching):
    """A module whose layers share a weight."""

    def __init__(self) -> None:
        super().__init__()
        layers = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        layers[1].weight = layers[0].weight
        self.module.layers = layers
