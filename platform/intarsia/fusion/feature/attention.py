"""Attention fusion: the query decides how much of a product's text and picture it looks at.

The query's mean token asks the product's tokens by scaled dot-product attention with a mask; score = s cos(q, what it heard).

Source: Vaswani et al., NeurIPS 2017, eq. 1. arXiv:1706.03762. Over modalities: Hori et al., ICCV 2017. doi:10.1109/ICCV.2017.450
"""

from __future__ import annotations

import torch

from intarsia.fusion.feature.attention_ops import Attention
from intarsia.fusion.feature.config import MODALITIES, JointConfig
from intarsia.fusion.feature.module import Dims, JointModule, Tokens, masked_mean


class AttentionFusion(JointModule):
    """One attention layer over a product's modalities."""

    def __init__(self, dims: Dims, config: JointConfig) -> None:
        super().__init__(dims, config)
        self.attention = Attention(config.width, config.num_heads, len(MODALITIES))

    def compare(self, queries: Tokens, products: Tokens) -> torch.Tensor:
        """Cosine of the query and of what it saw, [G, C]."""
        asking_GH = masked_mean(queries)
        heard_GC1H = self.attention(asking_GH[:, None, None, :], products)
        return self.cosine(asking_GH, heard_GC1H.squeeze(-2))
