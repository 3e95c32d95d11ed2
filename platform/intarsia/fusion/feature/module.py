"""What every kind of feature fusion is made of: modalities projected to tokens of one width, with a mask; the comparison is the kind's own.

A modality that is not there is cut out at the entry, whatever its numbers were (they may be NaN), and every kind reads tokens only where
the mask says so: what is missing changes nothing beyond its absence.

Letters: G queries, C candidates of each, M modalities (text, image) or tokens, D text width, E image width, H width of the common space.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from intarsia.fusion.feature.config import JointConfig

_FIRST_SCALE, _MAX_SCALE = 20.0, 100.0  # of cosines; the bound is that of CLIP (Radford et al. 2021)


class Dims(NamedTuple):
    """Widths of the vectors that come in."""

    text: int
    image: int


class Side(NamedTuple):
    """Queries or products as vectors: text [..., D], image [..., E], and which of both are there, bool [..., 2]."""

    text: torch.Tensor
    image: torch.Tensor
    has: torch.Tensor


class Tokens(NamedTuple):
    """The same in the common space: unit vectors [..., M, H], zeros where `there` (bool [..., M]) is false."""

    values: torch.Tensor
    there: torch.Tensor


class JointModule(nn.Module):
    """A kind of feature fusion. It starts as the cosine of mean tokens in one space, and learns what it adds to that."""

    def __init__(self, dims: Dims, config: JointConfig) -> None:
        super().__init__()
        width = config.width
        self.product_text = nn.Linear(dims.text, width, bias=False)
        self.product_image = nn.Linear(dims.image, width, bias=False)
        self.query_text = nn.Linear(dims.text, width, bias=False)
        self.query_image = nn.Linear(dims.image, width, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.log_scale = nn.Parameter(torch.tensor(_FIRST_SCALE).log())

    def start_from(self, text_DH: torch.Tensor, image_EH: torch.Tensor) -> None:
        """Begin with these projections, the same for queries and products."""
        with torch.no_grad():
            for text, image in ((self.product_text, self.product_image), (self.query_text, self.query_image)):
                text.weight.copy_(text_DH.T)
                image.weight.copy_(image_EH.T)

    def read_products(self, products: Side) -> Tokens:
        """Tokens of products, which depend on no query: computed once for a catalog."""
        return self.project(products, self.product_text, self.product_image)

    def read_queries(self, queries: Side) -> Tokens:
        """Tokens of queries."""
        return self.project(queries, self.query_text, self.query_image)

    @abstractmethod
    def compare(self, queries: Tokens, products: Tokens) -> torch.Tensor:
        """Scores [G, C] of tokens [G, M, H] against [G, C, M, H], or against [1, C, M, H] when all share candidates; higher is better."""

    def own_loss(self, products: Side) -> torch.Tensor:
        """What the kind asks beside finding products, of a batch of products [N, ...]; 0 for most."""
        return products.text.new_zeros(())

    def project(self, side: Side, text: nn.Linear, image: nn.Linear) -> Tokens:
        """Each modality through its projection to a unit vector; what is not there is zeros."""
        cut_text = torch.where(side.has[..., 0:1], side.text, 0.0)
        cut_image = torch.where(side.has[..., 1:2], side.image, 0.0)
        values = functional.normalize(torch.stack([text(cut_text), image(cut_image)], dim=-2), dim=-1)
        return Tokens(self.dropout(values), side.has)

    def cosine(self, queries_GH: torch.Tensor, products_GCH: torch.Tensor) -> torch.Tensor:
        """Learned scale times cosine, [G, C]; 0 against a vector of zeros."""
        queries_GH1 = functional.normalize(queries_GH, dim=-1).unsqueeze(-1)
        return self.scale() * (functional.normalize(products_GCH, dim=-1) @ queries_GH1).squeeze(-1)

    def scale(self) -> torch.Tensor:
        """What cosines are multiplied by."""
        return self.log_scale.exp().clamp(max=_MAX_SCALE)

    def mean_cosine(self, queries: Tokens, products: Tokens) -> torch.Tensor:
        """Where every kind starts: the cosine of mean tokens, [G, C]."""
        return self.cosine(masked_mean(queries), masked_mean(products))


class TwoTowers(JointModule):
    """A kind that makes one vector of each side before they meet in a cosine: a product's is made once, for all queries."""

    @abstractmethod
    def fuse_product(self, tokens: Tokens) -> torch.Tensor:
        """[..., M, H] -> [..., H]."""

    @abstractmethod
    def fuse_query(self, tokens: Tokens) -> torch.Tensor:
        """[..., M, H] -> [..., H]."""

    def read_products(self, products: Side) -> Tokens:
        """One token per product: what its modalities give together."""
        tokens = super().read_products(products)
        return Tokens(self.fuse_product(tokens).unsqueeze(-2), tokens.there.any(dim=-1, keepdim=True))

    def read_queries(self, queries: Side) -> Tokens:
        """One token per query."""
        tokens = super().read_queries(queries)
        return Tokens(self.fuse_query(tokens).unsqueeze(-2), tokens.there.any(dim=-1, keepdim=True))

    def compare(self, queries: Tokens, products: Tokens) -> torch.Tensor:
        """Cosine of the two vectors, [G, C]."""
        return self.cosine(queries.values[..., 0, :], products.values[..., 0, :])


class UnitPerSide(TwoTowers):
    """Two towers whose sides are fused each by a unit of its own, [..., M, H] -> [..., H]."""

    def __init__(self, dims: Dims, config: JointConfig, make_unit: Callable[[JointConfig], nn.Module]) -> None:
        super().__init__(dims, config)
        self.query_unit = make_unit(config)
        self.product_unit = make_unit(config)

    def fuse_product(self, tokens: Tokens) -> torch.Tensor:
        """Through its unit."""
        fused: torch.Tensor = self.product_unit(tokens)
        return fused

    def fuse_query(self, tokens: Tokens) -> torch.Tensor:
        """Through its unit."""
        fused: torch.Tensor = self.query_unit(tokens)
        return fused


def paired(queries: Tokens, products: Tokens) -> tuple[Tokens, Tokens]:
    """Both sides laid out for every pair, [G, C, M, H], for kinds that look at a query and a product together."""
    num_queries, num_candidates = queries.values.shape[0], products.values.shape[1]
    asked = Tokens(
        queries.values.unsqueeze(1).expand(-1, num_candidates, -1, -1),
        queries.there.unsqueeze(1).expand(-1, num_candidates, -1),
    )
    found = Tokens(products.values.expand(num_queries, -1, -1, -1), products.there.expand(num_queries, -1, -1))
    return asked, found


def masked_mean(tokens: Tokens) -> torch.Tensor:
    """Mean over the tokens that are there, [..., H]; zeros when none is."""
    weights = tokens.there.to(tokens.values.dtype).unsqueeze(-1)
    return (tokens.values * weights).sum(dim=-2) / weights.sum(dim=-2).clamp(min=1.0)


def weighted_sum(tokens: Tokens, logits_M: torch.Tensor) -> torch.Tensor:
    """Sum over the tokens that are there, weighed by the softmax of their logits, [..., H]; zeros when none is."""
    weights = masked_softmax(logits_M, tokens.there, dim=-1)
    return (tokens.values * weights.unsqueeze(-1)).sum(dim=-2)


def masked_softmax(logits: torch.Tensor, there: torch.Tensor, dim: int) -> torch.Tensor:
    """Softmax over the places that are there (broadcast to the logits); zeros elsewhere, and everywhere when none is."""
    highest = torch.where(there, logits, torch.finfo(logits.dtype).min).amax(dim, keepdim=True)
    powers = torch.exp(torch.where(there, logits - highest, -torch.inf))
    return powers / powers.sum(dim=dim, keepdim=True).clamp(min=torch.finfo(logits.dtype).tiny)


def begin_at_zero(layer: nn.Linear) -> nn.Linear:
    """The layer, giving zeros until it has learned."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def begin_at_identity(layer: nn.Linear) -> nn.Linear:
    """The layer, giving what it is given until it has learned."""
    nn.init.eye_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
