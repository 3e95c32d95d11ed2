"""Two deep towers: each side's modalities side by side through a perceptron of its own; the towers meet in a cosine.

v = mean_m x_m + MLP([x_text, x_image, mask]); score = s cos(v_query, v_product).

Source: Huang et al., DSSM, CIKM 2013, figure 1. doi:10.1145/2505515.2505665
"""

from __future__ import annotations

import torch
from torch import nn

from intarsia.fusion.feature.config import MODALITIES, JointConfig
from intarsia.fusion.feature.module import Dims, Tokens, UnitPerSide, begin_at_zero, masked_mean


class Dnn(UnitPerSide):
    """One hidden layer per tower."""

    def __init__(self, dims: Dims, config: JointConfig) -> None:
        super().__init__(dims, config, _Tower)


class _Tower(nn.Module):
    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        num, width = len(MODALITIES), config.width
        self.layers = nn.Sequential(
            nn.Linear(num * width + num, width),
            nn.Tanh(),
            nn.Dropout(config.dropout),
            begin_at_zero(nn.Linear(width, width)),
        )

    def forward(self, tokens: Tokens) -> torch.Tensor:
        """[..., M, H] -> [..., H]."""
        side = torch.cat([tokens.values.flatten(-2), tokens.there.to(tokens.values.dtype)], dim=-1)
        added: torch.Tensor = self.layers(side)
        return masked_mean(tokens) + added
