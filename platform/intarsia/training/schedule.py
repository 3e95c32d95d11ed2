"""Which examples a step reads, and its learning rate: pure functions of the config and the step number.

So a resumed fit, or one with another number of workers, runs the same steps, and none of this has to be saved.

Letters: B examples of a global batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from intarsia.training.task import Rows

ScheduleKind = Literal["linear", "cosine", "constant"]


@dataclass(slots=True)
class BatchSchedule:
    """The batches of a fit: every epoch has every example once, in its own order.

    An epoch has ceil(N / batch_size) batches whose sizes differ by one at most, so the last batch is not too small for
    in-batch negatives. A step takes `accumulate` batches; the last step of an epoch takes the rest.

    Attributes:
        num_examples: N, numbered from 0.
        epochs: passes over the examples.
        batch_size: largest number of examples in one loss, over all workers.
        accumulate: batches whose gradients are averaged into one step.
        seed: with the epoch number, decides the order of the examples.

    >>> BatchSchedule(num_examples=5, epochs=2, batch_size=2, accumulate=1, seed=0).num_steps
    6
    """

    num_examples: int
    epochs: int
    batch_size: int
    accumulate: int
    seed: int
    _shuffled: tuple[int, Rows] | None = field(default=None, init=False, repr=False)

    @property
    def batches_per_epoch(self) -> int:
        """Global batches of an epoch."""
        return math.ceil(self.num_examples / self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return math.ceil(self.batches_per_epoch / self.accumulate)

    @property
    def num_steps(self) -> int:
        """Steps of the whole fit, unless it is stopped early."""
        return self.epochs * self.steps_per_epoch

    @property
    def smallest_batch(self) -> int:
        """Examples of the smallest global batch: the largest possible number of workers."""
        return self.num_examples // self.batches_per_epoch

    def epoch_of(self, step: int) -> int:
        """The epoch of a step, from 0."""
        return step // self.steps_per_epoch

    def ends_epoch(self, step: int) -> bool:
        """Whether a step is the last of its epoch."""
        return (step + 1) % self.steps_per_epoch == 0

    def batches(self, step: int) -> list[Rows]:
        """The examples of each global batch of a step, int64 [B]."""
        first = step % self.steps_per_epoch * self.accumulate
        numbers = range(first, min(first + self.accumulate, self.batches_per_epoch))
        order_N = self._order(self.epoch_of(step))
        return [split_evenly(order_N, self.batches_per_epoch)[number] for number in numbers]

    def _order(self, epoch: int) -> Rows:
        if self._shuffled is None or self._shuffled[0] != epoch:
            order_N = np.random.default_rng((self.seed, epoch)).permutation(self.num_examples).astype(np.int64)
            self._shuffled = (epoch, order_N)
        return self._shuffled[1]


def split_evenly(rows_B: Rows, num_parts: int) -> list[Rows]:
    """Split rows into consecutive parts whose sizes differ by one at most, the larger ones first."""
    return np.array_split(rows_B, num_parts)


def rate_at(step: int, num_steps: int, *, peak: float, warmup_share: float, kind: ScheduleKind) -> float:
    """The learning rate of a step.

    It rises linearly over the first `warmup_share` of the steps to `peak`, and then falls to nearly 0 at the last step,
    linearly or along half a cosine, or stays constant.

    Source: the half cosine is Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5 without restarts. arXiv:1608.03983
    """
    num_warm = math.ceil(warmup_share * num_steps)
    if step < num_warm:
        return peak * (step + 1) / num_warm
    progress = (step - num_warm) / max(num_steps - num_warm, 1)
    factor = {"linear": 1.0 - progress, "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)), "constant": 1.0}[kind]
    return peak * factor
