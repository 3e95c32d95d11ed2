"""A small training task for tests of data parallelism.

It has what makes sharing a batch difficult: negatives from the batch, a temperature that only the loss reads, an unused
layer, dropout, and batches that do not divide evenly.

Letters: B examples of a global batch, b of them on one worker, V words, D width.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from intarsia.errors import DataError
from intarsia.training.task import Rows, Tensors

NUM_WORDS = 40


class Towers(nn.Module):
    """Two words of an example, each to a unit vector."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(NUM_WORDS, 8)
        self.project = nn.Linear(8, 8)
        self.unused = nn.Linear(8, 8)
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, left_b: torch.Tensor, right_b: torch.Tensor) -> dict[str, torch.Tensor]:
        left_bD, right_bD = self.dropout(self.words(left_b)), self.words(right_b)
        return {"left": normalize(self.project(left_bD), dim=1), "right": normalize(right_bD, dim=1)}


class WordMatching:
    """Word n belongs to word n + 20; the loss selects the right word of each left word among all of the batch."""

    def __init__(self, num_examples: int = 37, dropout: float = 0.0) -> None:
        torch.manual_seed(7)
        self.module = Towers(dropout)
        self.num_examples = num_examples
        self.pairs_N = np.random.default_rng(3).integers(0, NUM_WORDS // 2, num_examples)
        self.inputs_read: list[tuple[int, list[int]]] = []

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        self.inputs_read.append((step, rows_b.tolist()))
        left_b = torch.from_numpy(self.pairs_N[rows_b])
        return {"left_b": left_b, "right_b": left_b + NUM_WORDS // 2}

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        scores_BB = outputs["left"] @ outputs["right"].T * self.module.log_scale.exp()
        return cross_entropy(scores_BB, torch.arange(len(rows_B)))

    def measure(self) -> Mapping[str, float]:
        left_V = torch.arange(NUM_WORDS // 2)
        outputs = self.module(left_V, left_V + NUM_WORDS // 2)
        is_correct = (outputs["left"] @ outputs["right"].T).argmax(dim=1) == left_V
        return {"accuracy": float(is_correct.float().mean())}


class DiesOnce(WordMatching):
    """Kills its process when the inputs of one step are read for the first time."""

    def __init__(self, step: int, marker: Path) -> None:
        super().__init__()
        self._step, self._marker = step, marker

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        if step == self._step:
            try:
                self._marker.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().inputs(rows_b, step)


class RefusesItsRow(WordMatching):
    """Raises an error for one example."""

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        if 5 in rows_b:
            raise DataError(table="pairs", row=5, field="left", found="", allowed="a word", fix="give it one")
        return super().inputs(rows_b, step)
