"""What of a transformer can go: its smallest weights (set to 0), its least used heads and inner units (cut out).

Zeros shrink a model only for who compresses it or has sparse kernels; cut heads and units shrink and speed up every runtime. After a cut
`distil.py` teaches the rest what was lost.

Letters: N texts, T tokens, U inner units, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers.pytorch_utils import Conv1D

from intarsia.encoders.pruned_heads import attention_layers, cut_heads, cut_neurons
from intarsia.encoders.transformer import TransformerTextEncoder
from intarsia.training.distillation import copied_transformer, encoder_over

_LINEAR = (nn.Linear, Conv1D)
"""Layers that multiply with a matrix; GPT-2's hold it turned round."""


def zero_smallest(encoder: TransformerTextEncoder, share: float) -> TransformerTextEncoder:
    """A copy whose smallest weights of matrix products, over all layers together, are 0.

    Args:
        encoder: stays as it is.
        share: of the weights of all linear layers, 0 <= share < 1; embeddings and norms are left alone.

    Raises:
        ConfigError: as `copied_transformer`.

    Source: Han et al., NeurIPS 2015, arXiv:1506.02626 (without the training between rounds).
    """
    assert 0.0 <= share < 1.0
    model = copied_transformer(encoder)
    linear = [module for name, module in model.named_modules() if isinstance(module, _LINEAR) and "pooler" not in name]
    sizes = torch.cat([module.weight.detach().abs().flatten() for module in linear])
    num_zeros = int(share * len(sizes))
    if num_zeros:
        limit = sizes.kthvalue(num_zeros).values
        with torch.no_grad():
            for module in linear:
                module.weight[module.weight.abs() <= limit] = 0.0
    return encoder_over(encoder, model)


def without_least_heads(
    encoder: TransformerTextEncoder, num_cut: int, probes: Sequence[str]
) -> tuple[TransformerTextEncoder, NDArray[np.float64]]:
    """A copy without the heads whose absence moves the vectors of some texts least; every layer keeps one at least.

    Args:
        encoder: a BERT or its kin; stays as it is.
        num_cut: heads that go, over all layers.
        probes: texts of the catalog; one pass over them per head.

    Returns:
        The copy, and of each layer and head how far it moves the vectors: 1 - mean cosine, float64 [layers, heads].

    Source: Michel, Levy and Neubig, NeurIPS 2019, arXiv:1905.10650, section 3.2 (each head left out alone).
    """
    model = copied_transformer(encoder)
    moved = _moved_without(encoder, model, probes)
    gone: set[tuple[int, int]] = set()
    num_heads = moved.shape[1]
    for flat in np.argsort(moved, axis=None, kind="stable"):
        layer, head = divmod(int(flat), num_heads)
        if len(gone) < num_cut and sum(other == layer for other, _ in gone) < num_heads - 1:
            gone.add((layer, head))
    kept = [[head for head in range(num_heads) if (layer, head) not in gone] for layer in range(len(moved))]
    cut_heads(model, kept)
    return encoder_over(encoder, model), moved


def without_least_units(
    encoder: TransformerTextEncoder, num_kept: int, probes: Sequence[str]
) -> TransformerTextEncoder:
    """A copy whose feed-forward blocks keep the inner units that say most: mean activation on some texts, by the norm of what it is
    multiplied with.

    Args:
        encoder: a BERT or its kin; stays as it is.
        num_kept: units per layer.
        probes: texts of the catalog.
    """
    model = copied_transformer(encoder)
    attention_layers(model)
    said = [_Said() for _ in model.encoder.layer]
    hooks = [
        layer.intermediate.register_forward_hook(hear) for layer, hear in zip(model.encoder.layer, said, strict=True)
    ]
    encoder_over(encoder, model).encode(probes)
    for hook in hooks:
        hook.remove()
    kept = []
    for layer, hear in zip(model.encoder.layer, said, strict=True):
        worth_U = hear.sum_U * layer.output.dense.weight.detach().norm(dim=0)
        kept.append(sorted(torch.topk(worth_U, num_kept).indices.tolist()))
    cut_neurons(model, kept)
    return encoder_over(encoder, model)


class _Said:
    """Sums what the units of a layer say, without its sign."""

    def __init__(self) -> None:
        self.sum_U: torch.Tensor = torch.zeros(())

    def __call__(self, module: nn.Module, given: Any, states_NTU: torch.Tensor) -> None:
        self.sum_U = self.sum_U + states_NTU.abs().sum(dim=(0, 1))


def _moved_without(encoder: TransformerTextEncoder, model: Any, probes: Sequence[str]) -> NDArray[np.float64]:
    whole_ND = encoder.encode(probes)
    blocks = attention_layers(model)
    moved = np.zeros((len(blocks), blocks[0].self.num_attention_heads))
    trial = encoder_over(encoder, model)
    for number, block in enumerate(blocks):
        weight, width = block.output.dense.weight, block.self.attention_head_size
        for head in range(moved.shape[1]):
            columns = slice(head * width, (head + 1) * width)
            with torch.no_grad():
                before = weight[:, columns].clone()
                weight[:, columns] = 0.0
                moved[number, head] = 1.0 - float(np.vecdot(trial.encode(probes), whole_ND).mean())
                weight[:, columns] = before
    return moved
