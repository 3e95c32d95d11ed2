"""Which examples a step reads and how large it is: both pure functions of the config and the step's number.

So a resumed fit, and one with another number of workers, does the very same steps; nothing of this needs to be saved.

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
    """The steps of a fit: every epoch shows every example once, in an order of its own.

    An epoch's examples fall into ceil(N / batch_size) batches of nearly one size (they differ by one at most), so the last batch is
    never a crumb without negatives. A step takes `accumulate` batches; the last of an epoch takes what is left.

    Attributes:
        num_examples: N, numbered from 0.
        epochs: how often each example is shown.
        batch_size: the most examples that one loss sees together, over all workers.
        accumulate: batches whose gradients are averaged into one step.
        seed: orders the examples, together with the epoch's number.
    """

    num_examples: int
    epochs: int
    batch_size: int
    accumulate: int
    seed: int
    _shuffled: tuple[int, Rows] | None = field(default=None, init=False, repr=False)

    @property
    def batches_per_epoch(self) -> int:
        """Global batches that show every example once."""
        return math.ceil(self.num_examples / self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimiser in one epoch."""
        return math.ceil(self.batches_per_epoch / self.accumulate)

    @property
    def num_steps(self) -> int:
        """Steps of the whole fit, if nothing stops it early."""
        return self.epochs * self.steps_per_epoch

    @property
    def smallest_batch(self) -> int:
        """Examples of the smallest global batch: no fit has more workers."""
        return self.num_examples // self.batches_per_epoch

    def epoch_of(self, step: int) -> int:
        """The epoch, from 0, that a step belongs to."""
        return step // self.steps_per_epoch

    def ends_epoch(self, step: int) -> bool:
        """Whether the step is the last of its epoch."""
        return (step + 1) % self.steps_per_epoch == 0

    def batches(self, step: int) -> list[Rows]:
        """The examples of each global batch of a step, int64 [B]."""
        first = step % self.steps_per_epoch * self.accumulate
        numbers = range(first, min(first + self.accumulate, self.batches_per_epoch))
        order_N = self._order(self.epoch_of(step))
        return [shares(order_N, self.batches_per_epoch)[number] for number in numbers]

    def _order(self, epoch: int) -> Rows:
        if self._shuffled is None or self._shuffled[0] != epoch:
            order_N = np.random.default_rng((self.seed, epoch)).permutation(self.num_examples).astype(np.int64)
            self._shuffled = (epoch, order_N)
        return self._shuffled[1]


def shares(rows_B: Rows, num_shares: int) -> list[Rows]:
    """Rows cut into consecutive shares whose sizes differ by one at most, the larger first."""
    return np.array_split(rows_B, num_shares)


def rate_at(step: int, num_steps: int, *, peak: float, warmup_share: float, kind: ScheduleKind) -> float:
    """The learning rate of a step.

    It rises in a straight line over the first `warmup_share` of the steps and reaches `peak` with the last of them; after that it
    falls to nearly 0 at the last step, in a straight line or along half a cosine, or stays.

    Source: the half cosine is Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5 without restarts. arXiv:1608.03983
    """
    num_warm = math.ceil(warmup_share * num_steps)
    if step < num_warm:
        return peak * (step + 1) / num_warm
    gone = (step - num_warm) / max(num_steps - num_warm, 1)
    factor = {"linear": 1.0 - gone, "cosine": 0.5 * (1.0 + math.cos(math.pi * gone)), "constant": 1.0}[kind]
    return peak * factor
