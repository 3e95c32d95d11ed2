"""Weighted sum: one learned weight per modality, the same for all queries and products.

p = sum_m a_m p_m / sum_m a_m over the modalities that are present, a = softmax of one logit each; score = s cos(q, p).

Source: Kiela and Bottou, EMNLP 2014 (text and visual vectors, weighed). doi:10.3115/v1/D14-1005
"""

from __future__ import annotations

import torch
from torch import nn

from intarsia.fusion.feature.config import MODALITIES, JointConfig
from intarsia.fusion.feature.module import Dims, Tokens, TwoTowers, weighted_sum


class WeightedSum(TwoTowers):
    """Weights of each side's modalities, equal at first."""

    def __init__(self, dims: Dims, config: JointConfig) -> None:
        super().__init__(dims, config)
        self.query_logits = nn.Parameter(torch.zeros(len(MODALITIES)))
        self.product_logits = nn.Parameter(torch.zeros(len(MODALITIES)))

    def fuse_product(self, tokens: Tokens) -> torch.Tensor:
        """Weighted sum of what is there, [..., H]."""
        return weighted_sum(tokens, self.product_logits)

    def fuse_query(self, tokens: Tokens) -> torch.Tensor:
        """Weighted sum of what is there, [..., H]."""
        return weighted_sum(tokens, self.query_logits)
