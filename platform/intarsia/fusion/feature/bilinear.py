"""Factorised bilinear pooling: query and product meet in every product of their numbers, through k factors for each output.

z = SumPool_k(U^T q * V^T p), then sign(z) sqrt|z| and unit length; score = s cos(q, p) + w z, q and p the means of what is there.

Source: Yu, Yu, Fan and Tao, MFB, ICCV 2017, eq. 5 and section 3.1. doi:10.1109/ICCV.2017.202
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from intarsia.fusion.feature.config import JointConfig
from intarsia.fusion.feature.module import Dims, JointModule, Tokens, begin_at_zero, masked_mean

_NUM_FACTORS = 4  # k; the paper takes 5
_SMALLEST = 1e-8  # the root's slope at 0 is infinite


class Bilinear(JointModule):
    """As many outputs as the space is wide."""

    def __init__(self, dims: Dims, config: JointConfig) -> None:
        super().__init__(dims, config)
        self.query_factors = nn.Linear(config.width, _NUM_FACTORS * config.width, bias=False)
        self.product_factors = nn.Linear(config.width, _NUM_FACTORS * config.width, bias=False)
        self.head = begin_at_zero(nn.Linear(config.width, 1, bias=False))

    def compare(self, queries: Tokens, products: Tokens) -> torch.Tensor:
        """Cosine and pooled factors, [G, C]."""
        queries_GH, products_GCH = masked_mean(queries), masked_mean(products)
        factors = self.query_factors(queries_GH).unsqueeze(1) * self.product_factors(products_GCH)
        pooled = factors.unflatten(-1, (-1, _NUM_FACTORS)).sum(dim=-1)
        rooted = torch.sign(pooled) * (torch.sqrt(pooled.abs() + _SMALLEST) - _SMALLEST**0.5)
        said: torch.Tensor = self.head(functional.normalize(rooted, dim=-1)).squeeze(-1)
        return self.cosine(queries_GH, products_GCH) + self.scale() * said
