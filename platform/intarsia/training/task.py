"""What a training loop needs to know of whatever is trained: examples by number, a module, a loss over the whole batch.

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
    """One task.

    A worker computes `module` on its own rows; the outputs of all workers, in the order of the global batch, go into `loss`: so a loss
    with in-batch negatives sees the same negatives however many workers there are.
    """

    @property
    def module(self) -> nn.Module:
        """What is trained; called with the tensors of `inputs` by name, gives tensors whose first axis is the examples."""
        ...

    @property
    def num_examples(self) -> int:
        """Examples are numbered from 0."""
        ...

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        """What the module reads for these examples; random choices (augmentation) depend on the seed, the step and each row alone."""
        ...

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        """The mean loss of the whole global batch, a scalar."""
        ...

    def measure(self) -> Mapping[str, float]:
        """Figures on held-out examples, by name, of the module as it is now; may be empty. Asked between epochs, of rank 0 or of all."""
        ...
