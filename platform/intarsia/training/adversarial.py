"""Adversarial steps on word embeddings: the loss is also lowered where a small push of the embeddings hurts it most."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from intarsia.errors import ConfigError


def word_embeddings(module: nn.Module) -> nn.Parameter:
    """The word-embedding weights of a module: what its transformer names as its input embeddings, else its largest embedding table.

    Raises:
        ConfigError: there are none, or they are frozen, so that no gradient reaches them.
    """
    found = _input_embeddings(module)
    if found is None:
        raise ConfigError("fgm_epsilon pushes word embeddings, and this module has none; set it to 0")
    if not found.weight.requires_grad:
        raise ConfigError(
            "fgm_epsilon pushes word embeddings, and this fit keeps them frozen; set it to 0 or train all weights"
        )
    weight: nn.Parameter = found.weight  # type: ignore[assignment]
    return weight


@contextmanager
def perturbed(weight: nn.Parameter, gradient: torch.Tensor, epsilon: float) -> Iterator[None]:
    """While open, the weights stand at x + epsilon * g / |g|; afterwards at x again, bit by bit.

    Args:
        weight: x.
        gradient: g, of the loss with regard to x; where it is 0 nothing is moved.
        epsilon: length of the push, in the unit of the weights; |g| is the norm over the whole table.

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
    speaking = [part for part in module.modules() if callable(getattr(part, "get_input_embeddings", None))]
    for part in speaking:
        try:
            named = part.get_input_embeddings()  # type: ignore[operator]
        except (NotImplementedError, AttributeError):
            continue  # a model of two sides, such as CLIP: the side further down says it
        if isinstance(named, nn.Embedding):
            return named
    if speaking:  # a picture side: its only table is of places
        return None
    tables = [part for part in module.modules() if isinstance(part, nn.Embedding)]
    return max(tables, key=lambda table: table.num_embeddings, default=None)
