"""Average: the mean of what is there, in a common space.

score = s cos(mean_m q_m, mean_m p_m), means over the modalities that are present; only the projections are learned.

Source: additive joint representation after Baltrušaitis, Ahuja and Morency, TPAMI 2019, section 3.1. doi:10.1109/TPAMI.2018.2798607
"""

from __future__ import annotations

import torch

from intarsia.fusion.feature.module import Tokens, TwoTowers, masked_mean


class Average(TwoTowers):
    """Equal weights."""

    def fuse_product(self, tokens: Tokens) -> torch.Tensor:
        """Mean of what is there, [..., H]."""
        return masked_mean(tokens)

    def fuse_query(self, tokens: Tokens) -> torch.Tensor:
        """Mean of what is there, [..., H]."""
        return masked_mean(tokens)
