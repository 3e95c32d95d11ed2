"""Common space: texts and pictures of one product are drawn together, of different products apart; queries live in the same space.

score = s sum_mn a_mn cos(q_m, p_n) / sum_mn a_mn over the pairs that are present, a > 0 learned. Beside finding products it is asked to
find each product's picture by its text and the other way round: symmetric InfoNCE over the batch.

Source: Radford et al., CLIP, ICML 2021, figure 3. arXiv:2103.00020
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from intarsia.fusion.feature.config import MODALITIES, JointConfig
from intarsia.fusion.feature.module import Dims, JointModule, Side, Tokens


class CommonSpace(JointModule):
    """Queries and products share the projections: there is one space."""

    def __init__(self, dims: Dims, config: JointConfig) -> None:
        super().__init__(dims, config)
        self.query_text = self.product_text
        self.query_image = self.product_image
        self.pair_logits_MM = nn.Parameter(torch.zeros(len(MODALITIES), len(MODALITIES)))

    def compare(self, queries: Tokens, products: Tokens) -> torch.Tensor:
        """Weighted mean of the cosines of present pairs, [G, C]."""
        cosines_GCMM = products.values @ queries.values.unsqueeze(1).transpose(-1, -2)  # of unit vectors
        there = products.there.unsqueeze(-1) & queries.there.unsqueeze(1).unsqueeze(-2)
        weights = there.to(cosines_GCMM.dtype) * self.pair_logits_MM.exp()
        total_GC = weights.sum(dim=(-1, -2)).clamp(min=torch.finfo(weights.dtype).tiny)
        return self.scale() * (weights * cosines_GCMM).sum(dim=(-1, -2)) / total_GC

    def own_loss(self, products: Side) -> torch.Tensor:
        """InfoNCE from text to picture and back, over the products that have both."""
        both = products.has.all(dim=-1)
        tokens = self.read_products(Side(products.text[both], products.image[both], products.has[both]))
        if len(tokens.values) < 2:
            return products.text.new_zeros(())
        logits = self.scale() * tokens.values[:, 0] @ tokens.values[:, 1].T
        own = torch.arange(len(logits))
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
