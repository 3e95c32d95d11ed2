"""Gated fusion: each number of the fused vector decides for itself how much of which modality it takes.

h_m = tanh(W_m x_m); z = softmax over the present m of V_m [x_1; x_2]; h = sum_m z_m * h_m, number by number. The two gates of the paper,
z and 1 - z, are a softmax over two; with it a missing modality leaves the sum, and the gate of one left alone is 1.

Source: Arevalo, Solorio, Montes-y-Gómez and González, Gated Multimodal Units, ICLR workshop 2017, section 3.1. arXiv:1702.01992
"""

from __future__ import annotations

import torch
from torch import nn

from intarsia.fusion.feature.config import MODALITIES, JointConfig
from intarsia.fusion.feature.module import (
    Dims,
    Tokens,
    UnitPerSide,
    begin_at_identity,
    begin_at_zero,
    masked_softmax,
)


class Gated(UnitPerSide):
    """One gated unit per side."""

    def __init__(self, dims: Dims, config: JointConfig) -> None:
        super().__init__(dims, config, _GatedUnit)


class _GatedUnit(nn.Module):
    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        width = config.width
        num = len(MODALITIES)
        self.read = nn.ModuleList(begin_at_identity(nn.Linear(width, width)) for _ in range(num))
        self.gates = begin_at_zero(nn.Linear(num * width, num * width))

    def forward(self, tokens: Tokens) -> torch.Tensor:
        """[..., M, H] -> [..., H]."""
        read_progress = torch.stack(
            [torch.tanh(read(tokens.values[..., m, :])) for m, read in enumerate(self.read)], dim=-2
        )
        logits = self.gates(tokens.values.flatten(-2)).unflatten(-1, (len(MODALITIES), -1))
        gates = masked_softmax(logits, tokens.there.unsqueeze(-1), dim=-2)
        return (gates * read_progress).sum(dim=-2)
