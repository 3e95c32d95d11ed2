"""Low-rank tensor fusion: every interaction of the modalities, without building their outer product.

h = sum_r w_r prod_m (W_m^r [x_m; 1]), the product over the modalities that are there: the constant 1 keeps each alone in it, and a missing
modality is a factor of 1. score = s cos(q, p) of v = mean_m x_m + h on each side.

Source: Liu et al., Low-rank Multimodal Fusion, ACL 2018, eq. 6-8. doi:10.18653/v1/P18-1209
"""

from __future__ import annotations

import torch
from torch import nn

from intarsia.fusion.feature.config import MODALITIES, JointConfig
from intarsia.fusion.feature.module import Dims, Tokens, UnitPerSide, masked_mean

_RANK = 4  # that it is low is the point: the full tensor has as many weights as width squared


class LowRank(UnitPerSide):
    """One low-rank unit per side."""

    def __init__(self, dims: Dims, config: JointConfig) -> None:
        super().__init__(dims, config, _LowRankUnit)


class _LowRankUnit(nn.Module):
    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        width = config.width
        self.factors = nn.ModuleList(nn.Linear(width, _RANK * width) for _ in MODALITIES)
        self.rank_weights_R = nn.Parameter(torch.zeros(_RANK))  # adds nothing at first

    def forward(self, tokens: Tokens) -> torch.Tensor:
        """[..., M, H] -> [..., H]."""
        factors = torch.stack([factor(tokens.values[..., m, :]) for m, factor in enumerate(self.factors)], dim=-2)
        product = torch.where(tokens.there.unsqueeze(-1), factors, 1.0).prod(dim=-2)
        interaction = torch.stack(product.chunk(_RANK, dim=-1), dim=-1) @ self.rank_weights_R
        some = tokens.there.any(dim=-1, keepdim=True)
        return masked_mean(tokens) + torch.where(some, interaction, 0.0)
