"""Pooling and normalisation in torch, so that they are exported with the network.

Letters: N items, T tokens, C channels, H height, W width, D width of the vector.
"""

from __future__ import annotations

import torch


def mean_of_tokens(states_NTD: torch.Tensor, mask_NT: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens where the mask is 1; [N, D]."""
    weights_NT1 = mask_NT.unsqueeze(-1).to(states_NTD.dtype)
    return (states_NTD * weights_NT1).sum(dim=1) / weights_NT1.sum(dim=1).clamp(min=1.0)


def last_token(states_NTD: torch.Tensor, mask_NT: torch.Tensor) -> torch.Tensor:
    """State of the last token where the mask is 1; [N, D]. In a causal model only this token sees the whole text."""
    last_N = (mask_NT.sum(dim=1) - 1).clamp(min=0)
    return states_NTD[torch.arange(states_NTD.shape[0], device=states_NTD.device), last_N]


def mean_of_positions(map_NCHW: torch.Tensor) -> torch.Tensor:
    """Mean over the positions of a feature map; [N, C]."""
    return map_NCHW.mean(dim=(2, 3))


def unit_rows(rows_ND: torch.Tensor) -> torch.Tensor:
    """Scale rows to norm 1; a row of zeros becomes a row of equal values.

    >>> unit_rows(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    norms_N1 = rows_ND.square().sum(dim=1, keepdim=True).sqrt()
    flat = torch.full_like(rows_ND, rows_ND.shape[1] ** -0.5)
    return torch.where(norms_N1 > 0, rows_ND / norms_N1.clamp(min=torch.finfo(torch.float32).tiny), flat)
