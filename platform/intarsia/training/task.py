"""The interface between the training loop and what is trained: a module, numbered examples, and a loss over the global
batch.

Letters: B examples of a global batch, b of them on one worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Tensors = Mapping[str, torch.Tensor]
Rows = NDArray[np.int64]


class TrainingTask(Protocol):
    """Something that the training loop can train.

    Each worker calls `module` on its own rows. The outputs of all workers, in the order of the global batch, go into
    `loss`. So a loss with in-batch negatives has the same negatives whatever the number of workers.
    """

    @property
    def module(self) -> nn.Module:
        """The trained module. It is called with the tensors of `inputs` by name, and returns tensors whose first axis
        is b.
        """
        ...

    @property
    def num_examples(self) -> int:
        """Number of examples; they are numbered from 0."""
        ...

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        """Inputs of the module for these examples; random choices depend only on the seed, the step and each row."""
        ...

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        """Mean loss of the global batch, a scalar."""
        ...

    def measure(self) -> Mapping[str, float]:
        """Metrics on held-out examples with the current parameters, by name; may be empty.

        Called after each epoch, on rank 0 or on all workers.
        """
        ...
