"""Concatenation and a multilayer perceptron: all vectors of query and product side by side, and what they have in common.

x = [q_text, q_image, p_text, p_image, q_m * p_n for all m, n, mask]; score = s cos(mean q, mean p) + MLP(x). The products q_m * p_n stand
beside the vectors because a perceptron alone hardly learns a dot product (Rendle et al., RecSys 2020, doi:10.1145/3383313.3412488).

Source: Ngiam et al., ICML 2011 (concatenated modalities); features of pairs after Conneau et al., EMNLP 2017. arXiv:1705.02364
"""

from __future__ import annotations

import torch
from torch import nn

from intarsia.fusion.feature.config import MODALITIES, JointConfig
from intarsia.fusion.feature.module import Dims, JointModule, Tokens, begin_at_zero, paired


class Concat(JointModule):
    """One hidden layer; what is missing is zeros, and the mask says that it is."""

    def __init__(self, dims: Dims, config: JointConfig) -> None:
        super().__init__(dims, config)
        num = len(MODALITIES)
        self.layers = nn.Sequential(
            nn.Linear((2 * num + num * num) * config.width + 2 * num, config.width),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            begin_at_zero(nn.Linear(config.width, 1)),
        )

    def compare(self, queries: Tokens, products: Tokens) -> torch.Tensor:
        """What the perceptron says, added to the cosine of means, [G, C]."""
        asked, found = paired(queries, products)
        both_GCMMH = asked.values.unsqueeze(3) * found.values.unsqueeze(2)
        mask = torch.cat([asked.there, found.there], dim=-1).to(both_GCMMH.dtype)
        parts = [asked.values.flatten(2), found.values.flatten(2), both_GCMMH.flatten(2), mask]
        said: torch.Tensor = self.layers(torch.cat(parts, dim=-1)).squeeze(-1)
        return self.mean_cosine(queries, products) + said
