"""Cross-attention: the query's tokens look at the product's, and the product's at the query's, before both are compared.

q'_m = q_m + Attention(q_m, P), p'_m = p_m + Attention(p_m, Q), each with its mask; score = s cos(mean q', mean p') + w (mean q' * mean p').

Source: Lu, Batra, Parikh and Lee, ViLBERT, NeurIPS 2019, section 3.1 (co-attentional layers). arXiv:1908.02265
"""

from __future__ import annotations

import torch
from torch import nn

from intarsia.fusion.feature.attention_ops import Attention
from intarsia.fusion.feature.config import MODALITIES, JointConfig
from intarsia.fusion.feature.module import Dims, JointModule, Tokens, begin_at_zero, masked_mean, paired


class CrossAttention(JointModule):
    """One co-attentional layer; each stream adds nothing at first."""

    def __init__(self, dims: Dims, config: JointConfig) -> None:
        super().__init__(dims, config)
        self.query_looks = Attention(config.width, config.num_heads, len(MODALITIES))
        self.product_looks = Attention(config.width, config.num_heads, len(MODALITIES))
        begin_at_zero(self.query_looks.out)
        begin_at_zero(self.product_looks.out)
        self.head = begin_at_zero(nn.Linear(config.width, 1, bias=False))

    def compare(self, queries: Tokens, products: Tokens) -> torch.Tensor:
        """Cosine of the two streams' means and a learned weighing of their product, [G, C]."""
        asked, products = paired(queries, products)
        queries_GCH = masked_mean(asked._replace(values=asked.values + self.query_looks(asked.values, products)))
        products_GCH = masked_mean(
            products._replace(values=products.values + self.product_looks(products.values, asked))
        )
        cosine = nn.functional.cosine_similarity(queries_GCH, products_GCH, dim=-1)
        weighed: torch.Tensor = self.head(queries_GCH * products_GCH).squeeze(-1)
        return self.scale() * (cosine + weighed)
