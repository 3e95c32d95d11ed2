"""Adversarial training on word embeddings (FGM): a second pass with the embeddings shifted in the direction that raises
the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from intarsia.errors import ConfigError


def word_embeddings(module: nn.Module) -> nn.Parameter:
    """The word-embedding weights of a module: the transformer's input embeddings, else the largest embedding table.

    Raises:
        ConfigError: the module has no word embeddings, or they are frozen, so no gradient reaches them.
    """
    embedding = _input_embeddings(module)
    if embedding is None:
        raise ConfigError("fgm_epsilon shifts word embeddings, but this module has none; set fgm_epsilon to 0")
    if not embedding.weight.requires_grad:
        raise ConfigError(
            "fgm_epsilon shifts word embeddings, but this fit keeps them frozen; set fgm_epsilon to 0 or train all "
            "weights"
        )
    weight: nn.Parameter = embedding.weight  # type: ignore[assignment]
    return weight


@contextmanager
def perturbed(weight: nn.Parameter, gradient: torch.Tensor, epsilon: float) -> Iterator[None]:
    """Context in which the weights are x + epsilon * g / |g|; on exit they are x again, bit by bit.

    Args:
        weight: x.
        gradient: g, of the loss with respect to x. Where it is 0 or not finite, the weights stay as they are.
        epsilon: length of the shift; |g| is the norm over the whole table.

    Source: Miyato, Dai and Goodfellow, ICLR 2017, eq. 5 (there on normalised embeddings of one text). arXiv:1605.07725
    """
    before = weight.detach().clone()
    length = gradient.norm()
    try:
        with torch.no_grad():
            if length > 0 and torch.isfinite(length):
                weight.add_(gradient, alpha=float(epsilon / length))
        yield
    finally:
        with torch.no_grad():
            weight.copy_(before)


def _input_embeddings(module: nn.Module) -> nn.Embedding | None:
    transformers = [
        module_part for module_part in module.modules() if callable(getattr(module_part, "get_input_embeddings", None))
    ]
    for module_part in transformers:
        try:
            embedding = module_part.get_input_embeddings()  # type: ignore[operator]
        except (NotImplementedError, AttributeError):
            continue  # a two-sided model such as CLIP: its text side, further down, has the method
        if isinstance(embedding, nn.Embedding):
            return embedding
    if transformers:  # an image side: its only embedding table is for positions
        return None
    tables = [module_part for module_part in module.modules() if isinstance(module_part, nn.Embedding)]
    return max(tables, key=lambda table: table.num_embeddings, default=None)
