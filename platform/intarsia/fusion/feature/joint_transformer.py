"""Joint transformer: one encoder reads the tokens of query and product together; its first token says how well they fit.

x = [start, q_text, q_image, p_text, p_image] + a vector per place; pre-norm block: x + Attention(LN x), then x + W2 gelu(W1 LN x); missing
tokens are masked as keys. score = s cos(mean q, mean p) + w LN(x_start): it begins as the average and learns what that misses.

Source: Chen et al., UNITER, ECCV 2020, section 3.1. arXiv:1909.11740. Pre-norm: Xiong et al., ICML 2020. arXiv:2002.04745
"""

from __future__ import annotations

import torch
from torch import nn

from intarsia.fusion.feature.attention_ops import Attention
from intarsia.fusion.feature.config import MODALITIES, JointConfig
from intarsia.fusion.feature.module import Dims, JointModule, Tokens, begin_at_zero, paired

_NUM_PLACES = 1 + 2 * len(MODALITIES)
_FIRST_SPREAD = 0.02  # of a new embedding, as in BERT


class JointTransformer(JointModule):
    """`num_layers` blocks; of the last one only the first token is computed, as nothing else is read."""

    def __init__(self, dims: Dims, config: JointConfig) -> None:
        super().__init__(dims, config)
        self.start_H = nn.Parameter(torch.randn(config.width) * _FIRST_SPREAD)
        self.place_TH = nn.Parameter(torch.randn(_NUM_PLACES, config.width) * _FIRST_SPREAD)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.num_layers))
        self.last = nn.LayerNorm(config.width)
        self.head = begin_at_zero(nn.Linear(config.width, 1))

    def compare(self, queries: Tokens, products: Tokens) -> torch.Tensor:
        """What the first token says, added to the cosine of means, [G, C]."""
        asked, found = paired(queries, products)
        start_GC1H = self.start_H.expand(asked.values.shape[0], asked.values.shape[1], 1, -1)
        values = torch.cat([start_GC1H, asked.values, found.values], dim=2) + self.place_TH
        there = torch.cat([torch.ones_like(asked.there[..., :1]), asked.there, found.there], dim=2)
        for number, block in enumerate(self.blocks, start=1):
            values = block(Tokens(values, there), num_asking=1 if number == len(self.blocks) else _NUM_PLACES)
        said: torch.Tensor = self.head(self.last(values[..., 0, :])).squeeze(-1)
        return self.mean_cosine(queries, products) + said


class _Block(nn.Module):
    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        width = config.width
        self.before_attention, self.before_layers = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, config.num_heads, _NUM_PLACES)
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tokens, num_asking: int) -> torch.Tensor:
        """[..., T, H] -> [..., the first of them, H]."""
        normed = self.before_attention(tokens.values)
        read_progress: torch.Tensor = self.attention(normed[..., :num_asking, :], Tokens(normed, tokens.there))
        read = tokens.values[..., :num_asking, :] + read_progress
        added: torch.Tensor = self.layers(self.before_layers(read))
        return read + added
