"""How much of its activations a tower drops while it learns, whatever it was made with."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.dropout import _DropoutNd


def set_dropout(tower: nn.Module, share: float) -> None:
    """Give every dropout of a module one share, 0..1; encoding is not touched by it.

    Recurrent layers drop between their layers, and a single one has nothing between: it is left alone.

    Source: Srivastava et al., JMLR 2014
    """
    for part in tower.modules():
        if isinstance(part, _DropoutNd):
            part.p = share
        elif isinstance(part, nn.RNNBase):
            part.dropout = share if part.num_layers > 1 else 0.0
        else:
            for name in ("dropout", "attention_dropout"):  # numbers that attention reads, in the CLIP family
                if isinstance(getattr(part, name, None), float):
                    setattr(part, name, share)
