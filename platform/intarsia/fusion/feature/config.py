"""Which kinds of feature fusion there are, and how one is fitted; torch-free, so that serving may read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from intarsia.config import check_range, setting

JointKind = Literal[
    "average",
    "weighted_sum",
    "concat",
    "dnn",
    "gated",
    "attention",
    "cross_attention",
    "common_space",
    "joint_transformer",
    "adversarial",
    "low_rank",
    "bilinear",
]
JOINT_KINDS: tuple[JointKind, ...] = get_args(JointKind)

MODALITIES = ("text", "image")
"""The order of the columns of every mask, and the names of the query vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointConfig:
    """How wide the common space is, and how long and on what a kind of feature fusion is fitted."""

    width: int = setting("numbers per modality in the common space", 128)
    num_heads: int = setting("attention heads, a divisor of width; nothing for kinds without attention", 4)
    num_layers: int = setting("blocks of the joint transformer; nothing for other kinds", 1)
    dropout: float = setting("share of a token's numbers dropped while learning; 0 does nothing", 0.1)
    modality_dropout: float = setting(
        "chance that a text or a picture is hidden while learning, never the only one; 0 does nothing", 0.2
    )
    num_steps: int = setting("steps of the fit at most", 250)
    queries_per_step: int = setting("judged queries in a step", 24)
    candidates_per_query: int = setting("candidates of each, its relevant ones first (at most half)", 64)
    products_per_step: int = setting("products in a step that must be found by their own text or picture", 32)
    products_weight: float = setting("weight of that loss beside the judged one; 0 leaves it out", 0.3)
    own_weight: float = setting("weight of what a kind asks beside (alignment, adversaries); 0 leaves it out", 0.1)
    learning_rate: float = setting("peak, after a tenth of the steps; then down to zero by a cosine", 2e-3)
    weight_decay: float = setting("of AdamW; 0 does nothing", 0.05)
    measure_every: int = setting("steps between looks at the validation queries; the best look is kept", 50)

    def __post_init__(self) -> None:
        names = ("width", "num_heads", "num_layers", "num_steps", "queries_per_step", "measure_every")
        check_range(self, *names, low=1)
        check_range(self, "candidates_per_query", "products_per_step", low=2)
        check_range(self, "dropout", "modality_dropout", low=0.0, high=0.9)
        check_range(self, "products_weight", "own_weight", "learning_rate", "weight_decay", low=0.0)
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
