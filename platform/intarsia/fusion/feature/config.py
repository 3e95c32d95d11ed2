"""Names of the feature fusion methods, and how one is fitted. No torch here, as serving imports this module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from intarsia.config import check_range, setting

FeatureMethodName = Literal[
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
FEATURE_METHODS: tuple[FeatureMethodName, ...] = get_args(FeatureMethodName)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFitConfig:
    """Size of the module, and how it is fitted."""

    width: int = setting("dimensions per modality in the common space", 128, advanced=True)
    num_heads: int = setting(
        "attention heads, a divisor of width; not used by methods without attention", 4, advanced=True
    )
    num_layers: int = setting("blocks of joint_transformer; not used by other methods", 1, advanced=True)
    dropout: float = setting("share of a token's numbers dropped in training; 0 disables it", 0.1, advanced=True)
    modality_dropout: float = setting(
        "probability that a text or an image is hidden in training, never the only one; 0 disables it",
        0.2,
        advanced=True,
    )
    num_steps: int = setting("maximum number of training steps", 250, advanced=True)
    queries_per_step: int = setting("judged queries per step", 24, advanced=True)
    candidates_per_query: int = setting("candidates per judged query, at most half of them relevant", 64, advanced=True)
    products_per_step: int = setting(
        "products per step that must be retrieved by their own text or image", 32, advanced=True
    )
    products_weight: float = setting(
        "weight of the loss on these products; the judged queries have weight 1; 0 disables it", 0.3, advanced=True
    )
    own_weight: float = setting(
        "weight of the method's auxiliary loss (alignment, adversaries); 0 disables it", 0.1, advanced=True
    )
    learning_rate: float = setting(
        "peak rate, reached after a tenth of the steps, then decayed to 0 by a cosine", 2e-3, advanced=True
    )
    weight_decay: float = setting("of AdamW; 0 disables it", 0.05, advanced=True)
    measure_every: int = setting(
        "steps between measurements on the validation queries; the best state is kept", 50, advanced=True
    )

    def __post_init__(self) -> None:
        names = ("width", "num_heads", "num_layers", "num_steps", "queries_per_step", "measure_every")
        check_range(self, *names, low=1)
        check_range(self, "candidates_per_query", "products_per_step", low=2)
        check_range(self, "dropout", "modality_dropout", low=0.0, high=0.9)
        check_range(self, "products_weight", "own_weight", "learning_rate", "weight_decay", low=0.0)
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}")
