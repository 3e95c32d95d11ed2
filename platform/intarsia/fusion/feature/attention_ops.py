"""Scaled dot-product attention with a mask, several heads: what the attention kinds share.

softmax(Q K^T / sqrt(d)) V over the keys that are there; zeros where no key is.

Source: Vaswani et al., NeurIPS 2017, eq. 1 and section 3.2.2. arXiv:1706.03762
Letters: T tokens that ask, S tokens that are asked, H width, h heads, d = H / h.
"""

from __future__ import annotations

import torch
from torch import nn

from intarsia.fusion.feature.module import Tokens, begin_at_identity, masked_softmax


class Attention(nn.Module):
    """Projections of queries, keys and values (all the identity at first), and of the result.

    A learned vector per place (zeros at first) is added to the keys, so that a token is also found by where it stands: by its modality.
    """

    def __init__(self, width: int, num_heads: int, num_places: int) -> None:
        super().__init__()
        self.place_SH = nn.Parameter(torch.zeros(num_places, width))
        self.num_heads = num_heads
        self.ask = begin_at_identity(nn.Linear(width, width, bias=False))
        self.key = begin_at_identity(nn.Linear(width, width, bias=False))
        self.value = begin_at_identity(nn.Linear(width, width, bias=False))
        self.out = begin_at_identity(nn.Linear(width, width, bias=False))

    def forward(self, asking_TH: torch.Tensor, asked: Tokens) -> torch.Tensor:
        """[..., T, H] asks [..., S, H]: [..., T, H]."""
        ask_hTd, key_hSd, value_hSd = (
            each.unflatten(-1, (self.num_heads, -1)).transpose(-2, -3)
            for each in (self.ask(asking_TH), self.key(asked.values + self.place_SH), self.value(asked.values))
        )
        logits_hTS = ask_hTd @ key_hSd.transpose(-1, -2) / ask_hTd.shape[-1] ** 0.5
        there_11S = asked.there.unsqueeze(-2).unsqueeze(-2)
        heard_hTd = masked_softmax(logits_hTS, there_11S, dim=-1) @ value_hSd
        read_progress: torch.Tensor = self.out(heard_hTd.transpose(-2, -3).flatten(-2))
        return read_progress
