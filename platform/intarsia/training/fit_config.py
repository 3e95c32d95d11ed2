"""The settings of a fit; what each step makes of them is `loop.py`'s and `step.py`'s matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from intarsia.config import check_range, setting
from intarsia.training.schedule import ScheduleKind
from intarsia.training.tracking import TrackerKind


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How something is fitted.

    Without dropout none of it depends on the number of workers. A module that drops out draws its masks by worker, so that two workers
    give another curve and other parameters than one, as another seed would.
    """

    epochs: int = setting("how often each example is shown", 3)
    batch_size: int = setting("the most examples that one loss sees together, over all workers", 64)
    accumulate: int = setting("batches whose gradients are averaged into one step", 1)
    learning_rate: float = setting("the highest rate of AdamW", 2e-5)
    warmup_share: float = setting("share of the steps over which the rate rises from 0", 0.1)
    weight_decay: float = setting(
        "decay of weights, per unit of the rate; biases and norms are left alone; 0 is none", 0.01
    )
    schedule: ScheduleKind = setting("how the rate falls after it has risen", "linear")
    max_grad_norm: float = setting("gradients longer than this are shortened to it; 0 leaves them", 1.0)
    checkpoint_every: int = setting("steps from one checkpoint to the next; 0 takes none before the end", 200)
    fgm_epsilon: float = setting("length of the adversarial push on the word embeddings (FGM); 0 is none", 0.0)
    precision: Literal["auto", "fp32", "bf16"] = setting("auto: bf16 on a GPU that has it, else fp32", "auto")
    seed: int = setting("orders the examples and draws dropout", 0)
    watch: str = setting(
        "the figure of the learner whose best epoch is kept, higher is better; empty keeps the last", ""
    )
    patience: int = setting("epochs without a better watched figure after which the fit stops; 0 never stops it", 0)
    track: TrackerKind = setting("where else the curve goes, beside TensorBoard", "")

    def __post_init__(self) -> None:
        check_range(self, "epochs", "batch_size", "accumulate", low=1)
        check_range(self, "checkpoint_every", "patience", "seed", low=0)
        check_range(self, "weight_decay", "max_grad_norm", "fgm_epsilon", low=0.0)
        check_range(self, "warmup_share", low=0.0, high=1.0)
        if not self.learning_rate > 0.0:
            raise ValueError(f"learning_rate is {self.learning_rate}; allowed: above 0")
        if self.patience and not self.watch:
            raise ValueError(f"patience is {self.patience} and watch is empty; name the figure to watch")
