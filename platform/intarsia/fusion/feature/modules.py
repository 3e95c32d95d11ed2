"""The twelve feature fusion methods as torch modules, to compare them side by side, and the parts they share.

Every method projects text and image vectors to tokens of one width, and keeps a mask of the tokens that exist. They
differ in how the tokens of a query are compared with those of a product. A missing modality is set to zeros at the
input, whatever its numbers were (they may be NaN), and no method reads a masked token, so a missing vector has no
effect beyond its absence. Every method starts near the cosine of mean tokens, and learns what to add to it.

The file in order: shared types and functions, base classes, attention, the methods, and the table `FEATURE_MODULES`.

In the formulas, q_m and p_m are the tokens of query and product, m and n are modalities, and s is a learned scale.

Shapes: G queries, C candidates of each, M modalities (text, image) or tokens, D text width, E image width, H width of
the common space.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from intarsia.fusion.feature.config import FeatureFitConfig, FeatureMethodName
from intarsia.names import ENCODED_MODALITIES

_INITIAL_SCALE, _MAX_SCALE = 20.0, 100.0  # of cosines; the bound is that of CLIP (Radford et al. 2021)
_NUM_MODALITIES = len(ENCODED_MODALITIES)


class VectorWidths(NamedTuple):
    """Widths of the input vectors."""

    text: int
    image: int


class ModalityTensors(NamedTuple):
    """Vectors of queries or products: text [..., D], image [..., E], and which of the two exist, bool [..., 2]."""

    text: torch.Tensor
    image: torch.Tensor
    has: torch.Tensor


class MaskedTokens(NamedTuple):
    """Queries or products in the common space: unit vectors [..., M, H], zeros where `mask` [..., M] is false."""

    values: torch.Tensor
    mask: torch.Tensor


def masked_mean(tokens: MaskedTokens) -> torch.Tensor:
    """Mean over the tokens that exist, [..., H]; zeros if there is none."""
    weights = tokens.mask.to(tokens.values.dtype).unsqueeze(-1)
    return (tokens.values * weights).sum(dim=-2) / weights.sum(dim=-2).clamp(min=1.0)


def masked_weighted_sum(tokens: MaskedTokens, logits_M: torch.Tensor) -> torch.Tensor:
    """Sum over the tokens that exist, weighted by the softmax of their logits, [..., H]; zeros if there is none."""
    weights = masked_softmax(logits_M, tokens.mask, dim=-1)
    return (tokens.values * weights.unsqueeze(-1)).sum(dim=-2)


def masked_softmax(logits: torch.Tensor, mask: torch.Tensor, dim: int) -> torch.Tensor:
    """Softmax over the positions where `mask` (broadcast to the logits) is true; zeros elsewhere."""
    highest = torch.where(mask, logits, torch.finfo(logits.dtype).min).amax(dim, keepdim=True)
    powers = torch.exp(torch.where(mask, logits - highest, -torch.inf))
    return powers / powers.sum(dim=dim, keepdim=True).clamp(min=torch.finfo(logits.dtype).tiny)


def pairwise_tokens(queries: MaskedTokens, products: MaskedTokens) -> tuple[MaskedTokens, MaskedTokens]:
    """Expand both sides to every pair, [G, C, M, H], for methods that read a query and a product together."""
    num_queries, num_candidates = queries.values.shape[0], products.values.shape[1]
    queries_GC = MaskedTokens(
        queries.values.unsqueeze(1).expand(-1, num_candidates, -1, -1),
        queries.mask.unsqueeze(1).expand(-1, num_candidates, -1),
    )
    products_GC = MaskedTokens(
        products.values.expand(num_queries, -1, -1, -1), products.mask.expand(num_queries, -1, -1)
    )
    return queries_GC, products_GC


def zero_initialised(layer: nn.Linear) -> nn.Linear:
    """Set weight and bias to 0: the layer outputs zeros until it is trained."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def identity_initialised(layer: nn.Linear) -> nn.Linear:
    """Set the weight to the identity and the bias to 0: the layer outputs its input until it is trained."""
    nn.init.eye_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class FeatureModule(nn.Module):
    """Base class of all methods: the projections, the scale, and the cosine."""

    def __init__(self, widths: VectorWidths, config: FeatureFitConfig) -> None:
        super().__init__()
        width = config.width
        self.product_text = nn.Linear(widths.text, width, bias=False)
        self.product_image = nn.Linear(widths.image, width, bias=False)
        self.query_text = nn.Linear(widths.text, width, bias=False)
        self.query_image = nn.Linear(widths.image, width, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.log_scale = nn.Parameter(torch.tensor(_INITIAL_SCALE).log())

    def set_projections(self, text_DH: torch.Tensor, image_EH: torch.Tensor) -> None:
        """Set the initial projections, the same for queries and products."""
        with torch.no_grad():
            for text, image in ((self.product_text, self.product_image), (self.query_text, self.query_image)):
                text.weight.copy_(text_DH.T)
                image.weight.copy_(image_EH.T)

    def read_products(self, products: ModalityTensors) -> MaskedTokens:
        """Compute the tokens of products. They do not depend on the query, and are computed once per catalog."""
        return self.project(products, self.product_text, self.product_image)

    def read_queries(self, queries: ModalityTensors) -> MaskedTokens:
        """Compute the tokens of queries."""
        return self.project(queries, self.query_text, self.query_image)

    @abstractmethod
    def compare(self, queries: MaskedTokens, products: MaskedTokens) -> torch.Tensor:
        """Score queries against products; higher is better.

        Args:
            queries: [G, M, H].
            products: [G, C, M, H], or [1, C, M, H] if all queries have the same candidates.

        Returns:
            Scores [G, C].
        """

    def auxiliary_loss(self, products: ModalityTensors) -> torch.Tensor:
        """Loss of a batch of products [N, ...] that the method adds to the ranking losses; 0 for most methods."""
        return products.text.new_zeros(())

    def project(self, vectors: ModalityTensors, text: nn.Linear, image: nn.Linear) -> MaskedTokens:
        """Project each modality to a unit vector; zeros where it is missing."""
        masked_text = torch.where(vectors.has[..., 0:1], vectors.text, 0.0)
        masked_image = torch.where(vectors.has[..., 1:2], vectors.image, 0.0)
        values = functional.normalize(torch.stack([text(masked_text), image(masked_image)], dim=-2), dim=-1)
        return MaskedTokens(self.dropout(values), vectors.has)

    def cosine(self, queries_GH: torch.Tensor, products_GCH: torch.Tensor) -> torch.Tensor:
        """Learned scale times cosine, [G, C]; 0 for a vector of zeros."""
        queries_GH1 = functional.normalize(queries_GH, dim=-1).unsqueeze(-1)
        return self.scale() * (functional.normalize(products_GCH, dim=-1) @ queries_GH1).squeeze(-1)

    def scale(self) -> torch.Tensor:
        """Factor that cosines are multiplied by."""
        return self.log_scale.exp().clamp(max=_MAX_SCALE)

    def mean_cosine(self, queries: MaskedTokens, products: MaskedTokens) -> torch.Tensor:
        """Scaled cosine of the mean tokens, [G, C]."""
        return self.cosine(masked_mean(queries), masked_mean(products))


class TwoTowers(FeatureModule):
    """Base class of methods that fuse each side to one vector and compare the two vectors by cosine."""

    @abstractmethod
    def fuse_product(self, tokens: MaskedTokens) -> torch.Tensor:
        """Fuse a product's tokens [..., M, H] to one vector [..., H]."""

    @abstractmethod
    def fuse_query(self, tokens: MaskedTokens) -> torch.Tensor:
        """Fuse a query's tokens [..., M, H] to one vector [..., H]."""

    def read_products(self, products: ModalityTensors) -> MaskedTokens:
        tokens = super().read_products(products)
        return MaskedTokens(self.fuse_product(tokens).unsqueeze(-2), tokens.mask.any(dim=-1, keepdim=True))

    def read_queries(self, queries: ModalityTensors) -> MaskedTokens:
        tokens = super().read_queries(queries)
        return MaskedTokens(self.fuse_query(tokens).unsqueeze(-2), tokens.mask.any(dim=-1, keepdim=True))

    def compare(self, queries: MaskedTokens, products: MaskedTokens) -> torch.Tensor:
        return self.cosine(queries.values[..., 0, :], products.values[..., 0, :])


class UnitTowers(TwoTowers):
    """Two towers; each fuses its tokens by its own module, [..., M, H] -> [..., H]."""

    def __init__(
        self, widths: VectorWidths, config: FeatureFitConfig, make_unit: Callable[[FeatureFitConfig], nn.Module]
    ) -> None:
        super().__init__(widths, config)
        self.query_unit = make_unit(config)
        self.product_unit = make_unit(config)

    def fuse_product(self, tokens: MaskedTokens) -> torch.Tensor:
        fused: torch.Tensor = self.product_unit(tokens)
        return fused

    def fuse_query(self, tokens: MaskedTokens) -> torch.Tensor:
        fused: torch.Tensor = self.query_unit(tokens)
        return fused


class MaskedAttention(nn.Module):
    """Scaled dot-product attention with a mask and several heads: softmax(Q K^T / sqrt(d)) V over the keys that exist.

    It outputs zeros if no key exists. All projections start as the identity. A learned vector per key position (zeros
    at first) is added to the keys, so that a query can attend by modality.

    Shapes: T query tokens, S key tokens, H width, h heads, d = H / h.

    Source: Vaswani et al., NeurIPS 2017, eq. 1 and section 3.2.2. arXiv:1706.03762
    """

    def __init__(self, width: int, num_heads: int, num_positions: int) -> None:
        super().__init__()
        self.position_SH = nn.Parameter(torch.zeros(num_positions, width))
        self.num_heads = num_heads
        self.query = identity_initialised(nn.Linear(width, width, bias=False))
        self.key = identity_initialised(nn.Linear(width, width, bias=False))
        self.value = identity_initialised(nn.Linear(width, width, bias=False))
        self.out = identity_initialised(nn.Linear(width, width, bias=False))

    def forward(self, queries_TH: torch.Tensor, keys: MaskedTokens) -> torch.Tensor:
        """Attend from queries [..., T, H] to keys [..., S, H]; returns [..., T, H]."""
        query_hTd, key_hSd, value_hSd = (
            projected.unflatten(-1, (self.num_heads, -1)).transpose(-2, -3)
            for projected in (
                self.query(queries_TH),
                self.key(keys.values + self.position_SH),
                self.value(keys.values),
            )
        )
        logits_hTS = query_hTd @ key_hSd.transpose(-1, -2) / query_hTd.shape[-1] ** 0.5
        mask_11S = keys.mask.unsqueeze(-2).unsqueeze(-2)
        attended_hTd = masked_softmax(logits_hTS, mask_11S, dim=-1) @ value_hSd
        output: torch.Tensor = self.out(attended_hTd.transpose(-2, -3).flatten(-2))
        return output


class AverageFusion(TwoTowers):
    """Average: the mean of the modalities that exist. Only the projections are learned.

    score = s cos(mean_m q_m, mean_m p_m)

    Source: additive joint representation after Baltrušaitis, Ahuja and Morency, TPAMI 2019, section 3.1.
    doi:10.1109/TPAMI.2018.2798607
    """

    def fuse_product(self, tokens: MaskedTokens) -> torch.Tensor:
        return masked_mean(tokens)

    def fuse_query(self, tokens: MaskedTokens) -> torch.Tensor:
        return masked_mean(tokens)


class WeightedSumFusion(TwoTowers):
    """Weighted sum: one learned weight per modality for all queries, and one for all products; equal at first.

    p = sum_m a_m p_m / sum_m a_m over the modalities that exist, a = softmax of one logit per modality; score = s
    cos(q, p)

    Source: Kiela and Bottou, EMNLP 2014 (weighted text and visual vectors). doi:10.3115/v1/D14-1005
    """

    def __init__(self, widths: VectorWidths, config: FeatureFitConfig) -> None:
        super().__init__(widths, config)
        self.query_logits = nn.Parameter(torch.zeros(_NUM_MODALITIES))
        self.product_logits = nn.Parameter(torch.zeros(_NUM_MODALITIES))

    def fuse_product(self, tokens: MaskedTokens) -> torch.Tensor:
        return masked_weighted_sum(tokens, self.product_logits)

    def fuse_query(self, tokens: MaskedTokens) -> torch.Tensor:
        return masked_weighted_sum(tokens, self.query_logits)


class ConcatFusion(FeatureModule):
    """Concatenation: a perceptron over all vectors of query and product and their elementwise products.

    x = [q_text, q_image, p_text, p_image, q_m * p_n for all m, n, mask]; score = s cos(mean q, mean p) + MLP(x).
    Missing vectors are zeros. The elementwise products are inputs because a perceptron hardly learns a dot product
    (Rendle et al., RecSys 2020, doi:10.1145/3383313.3412488).

    Source: Ngiam et al., ICML 2011 (concatenated modalities); features of pairs after Conneau et al., EMNLP 2017.
    arXiv:1705.02364
    """

    def __init__(self, widths: VectorWidths, config: FeatureFitConfig) -> None:
        super().__init__(widths, config)
        num = _NUM_MODALITIES
        self.layers = nn.Sequential(
            nn.Linear((2 * num + num * num) * config.width + 2 * num, config.width),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            zero_initialised(nn.Linear(config.width, 1)),
        )

    def compare(self, queries: MaskedTokens, products: MaskedTokens) -> torch.Tensor:
        queries_GC, products_GC = pairwise_tokens(queries, products)
        elementwise_GCMMH = queries_GC.values.unsqueeze(3) * products_GC.values.unsqueeze(2)
        mask = torch.cat([queries_GC.mask, products_GC.mask], dim=-1).to(elementwise_GCMMH.dtype)
        inputs = [queries_GC.values.flatten(2), products_GC.values.flatten(2), elementwise_GCMMH.flatten(2), mask]
        added: torch.Tensor = self.layers(torch.cat(inputs, dim=-1)).squeeze(-1)
        return self.mean_cosine(queries, products) + added


class DnnFusion(UnitTowers):
    """Two deep towers: a perceptron with one hidden layer per side.

    v = mean_m x_m + MLP([x_text, x_image, mask]); score = s cos(v_query, v_product)

    Source: Huang et al., DSSM, CIKM 2013, figure 1. doi:10.1145/2505515.2505665
    """

    def __init__(self, widths: VectorWidths, config: FeatureFitConfig) -> None:
        super().__init__(widths, config, _DnnUnit)


class _DnnUnit(nn.Module):
    def __init__(self, config: FeatureFitConfig) -> None:
        super().__init__()
        width = config.width
        self.layers = nn.Sequential(
            nn.Linear(_NUM_MODALITIES * width + _NUM_MODALITIES, width),
            nn.Tanh(),
            nn.Dropout(config.dropout),
            zero_initialised(nn.Linear(width, width)),
        )

    def forward(self, tokens: MaskedTokens) -> torch.Tensor:
        inputs = torch.cat([tokens.values.flatten(-2), tokens.mask.to(tokens.values.dtype)], dim=-1)
        added: torch.Tensor = self.layers(inputs)
        return masked_mean(tokens) + added


class GatedFusion(UnitTowers):
    """Gated fusion: each dimension of the fused vector has a gate per modality.

    h_m = tanh(W_m x_m); z = softmax over the existing m of V_m [x_1; x_2]; h = sum_m z_m * h_m, elementwise. The two
    gates of the paper, z and 1 - z, are a softmax over two. With the softmax a missing modality leaves the sum, and the
    gate of a single modality is 1.

    Source: Arevalo, Solorio, Montes-y-Gómez and González, Gated Multimodal Units, ICLR workshop 2017, section 3.1.
    arXiv:1702.01992
    """

    def __init__(self, widths: VectorWidths, config: FeatureFitConfig) -> None:
        super().__init__(widths, config, _GatedUnit)


class _GatedUnit(nn.Module):
    def __init__(self, config: FeatureFitConfig) -> None:
        super().__init__()
        width = config.width
        self.hidden = nn.ModuleList(identity_initialised(nn.Linear(width, width)) for _ in range(_NUM_MODALITIES))
        self.gates = zero_initialised(nn.Linear(_NUM_MODALITIES * width, _NUM_MODALITIES * width))

    def forward(self, tokens: MaskedTokens) -> torch.Tensor:
        hidden = torch.stack(
            [torch.tanh(layer(tokens.values[..., m, :])) for m, layer in enumerate(self.hidden)], dim=-2
        )
        logits = self.gates(tokens.values.flatten(-2)).unflatten(-1, (_NUM_MODALITIES, -1))
        gates = masked_softmax(logits, tokens.mask.unsqueeze(-1), dim=-2)
        return (gates * hidden).sum(dim=-2)


class AttentionFusion(FeatureModule):
    """Attention: the query weighs a product's text and image.

    The query's mean token attends to the product's tokens; score = s cos(mean q, Attention(mean q, P))

    Source: Vaswani et al., NeurIPS 2017, eq. 1. arXiv:1706.03762. Over modalities: Hori et al., ICCV 2017.
    doi:10.1109/ICCV.2017.450
    """

    def __init__(self, widths: VectorWidths, config: FeatureFitConfig) -> None:
        super().__init__(widths, config)
        self.attention = MaskedAttention(config.width, config.num_heads, _NUM_MODALITIES)

    def compare(self, queries: MaskedTokens, products: MaskedTokens) -> torch.Tensor:
        queries_GH = masked_mean(queries)
        attended_GC1H = self.attention(queries_GH[:, None, None, :], products)
        return self.cosine(queries_GH, attended_GC1H.squeeze(-2))


class CrossAttentionFusion(FeatureModule):
    """Cross-attention: the tokens of query and product attend to each other, then both sides are compared.

    q'_m = q_m + Attention(q_m, P), p'_m = p_m + Attention(p_m, Q), each with its mask; each attention outputs zeros at
    first. score = s (cos(mean q', mean p') + w (mean q' * mean p'))

    Source: Lu, Batra, Parikh and Lee, ViLBERT, NeurIPS 2019, section 3.1 (co-attentional layers). arXiv:1908.02265
    """

    def __init__(self, widths: VectorWidths, config: FeatureFitConfig) -> None:
        super().__init__(widths, config)
        self.query_attention = MaskedAttention(config.width, config.num_heads, _NUM_MODALITIES)
        self.product_attention = MaskedAttention(config.width, config.num_heads, _NUM_MODALITIES)
        zero_initialised(self.query_attention.out)
        zero_initialised(self.product_attention.out)
        self.head = zero_initialised(nn.Linear(config.width, 1, bias=False))

    def compare(self, queries: MaskedTokens, products: MaskedTokens) -> torch.Tensor:
        queries, products = pairwise_tokens(queries, products)
        queries_GCH = masked_mean(
            queries._replace(values=queries.values + self.query_attention(queries.values, products))
        )
        products_GCH = masked_mean(
            products._replace(values=products.values + self.product_attention(products.values, queries))
        )
        cosine = functional.cosine_similarity(queries_GCH, products_GCH, dim=-1)
        weighted: torch.Tensor = self.head(queries_GCH * products_GCH).squeeze(-1)
        return self.scale() * (cosine + weighted)


class CommonSpaceFusion(FeatureModule):
    """Common space: queries and products share the projections, and a product's text and image are trained to be close.

    score = s sum_mn a_mn cos(q_m, p_n) / sum_mn a_mn over the pairs that exist, a > 0 learned. The auxiliary loss
    retrieves each product's image by its text and its text by its image: symmetric InfoNCE over the batch.

    Source: Radford et al., CLIP, ICML 2021, figure 3. arXiv:2103.00020
    """

    def __init__(self, widths: VectorWidths, config: FeatureFitConfig) -> None:
        super().__init__(widths, config)
        self.query_text = self.product_text
        self.query_image = self.product_image
        self.pair_logits_MM = nn.Parameter(torch.zeros(_NUM_MODALITIES, _NUM_MODALITIES))

    def compare(self, queries: MaskedTokens, products: MaskedTokens) -> torch.Tensor:
        cosines_GCMM = products.values @ queries.values.unsqueeze(1).transpose(-1, -2)  # of unit vectors
        mask = products.mask.unsqueeze(-1) & queries.mask.unsqueeze(1).unsqueeze(-2)
        weights = mask.to(cosines_GCMM.dtype) * self.pair_logits_MM.exp()
        total_GC = weights.sum(dim=(-1, -2)).clamp(min=torch.finfo(weights.dtype).tiny)
        return self.scale() * (weights * cosines_GCMM).sum(dim=(-1, -2)) / total_GC

    def auxiliary_loss(self, products: ModalityTensors) -> torch.Tensor:
        both = products.has.all(dim=-1)
        tokens = self.read_products(ModalityTensors(products.text[both], products.image[both], products.has[both]))
        if len(tokens.values) < 2:
            return products.text.new_zeros(())
        logits = self.scale() * tokens.values[:, 0] @ tokens.values[:, 1].T
        own = torch.arange(len(logits))
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


_NUM_TRANSFORMER_TOKENS = 1 + 2 * _NUM_MODALITIES
_EMBEDDING_STD = 0.02  # of a new embedding, as in BERT


class JointTransformerFusion(FeatureModule):
    """Joint transformer: one encoder reads the tokens of query and product; its first token gives the score.

    x = [start, q_text, q_image, p_text, p_image] + a vector per position. Pre-norm block: x + Attention(LN x), then x +
    W2 gelu(W1 LN x); missing tokens are masked as keys. score = s cos(mean q, mean p) + w LN(x_start), and w starts at
    0. Of the last block only the first token is computed, as nothing else is read.

    Source: Chen et al., UNITER, ECCV 2020, section 3.1. arXiv:1909.11740. Pre-norm: Xiong et al., ICML 2020.
    arXiv:2002.04745
    """

    def __init__(self, widths: VectorWidths, config: FeatureFitConfig) -> None:
        super().__init__(widths, config)
        self.start_H = nn.Parameter(torch.randn(config.width) * _EMBEDDING_STD)
        self.position_TH = nn.Parameter(torch.randn(_NUM_TRANSFORMER_TOKENS, config.width) * _EMBEDDING_STD)
        self.blocks = nn.ModuleList(_TransformerBlock(config) for _ in range(config.num_layers))
        self.final_norm = nn.LayerNorm(config.width)
        self.head = zero_initialised(nn.Linear(config.width, 1))

    def compare(self, queries: MaskedTokens, products: MaskedTokens) -> torch.Tensor:
        queries_GC, products_GC = pairwise_tokens(queries, products)
        start_GC1H = self.start_H.expand(queries_GC.values.shape[0], queries_GC.values.shape[1], 1, -1)
        values = torch.cat([start_GC1H, queries_GC.values, products_GC.values], dim=2) + self.position_TH
        mask = torch.cat([torch.ones_like(queries_GC.mask[..., :1]), queries_GC.mask, products_GC.mask], dim=2)
        for number, block in enumerate(self.blocks, start=1):
            num_outputs = 1 if number == len(self.blocks) else _NUM_TRANSFORMER_TOKENS
            values = block(MaskedTokens(values, mask), num_outputs=num_outputs)
        added: torch.Tensor = self.head(self.final_norm(values[..., 0, :])).squeeze(-1)
        return self.mean_cosine(queries, products) + added


class _TransformerBlock(nn.Module):
    def __init__(self, config: FeatureFitConfig) -> None:
        super().__init__()
        width = config.width
        self.attention_norm, self.layers_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = MaskedAttention(width, config.num_heads, _NUM_TRANSFORMER_TOKENS)
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: MaskedTokens, num_outputs: int) -> torch.Tensor:
        """Compute the first `num_outputs` tokens of [..., T, H]."""
        normed = self.attention_norm(tokens.values)
        attended: torch.Tensor = self.attention(normed[..., :num_outputs, :], MaskedTokens(normed, tokens.mask))
        values = tokens.values[..., :num_outputs, :] + attended
        added: torch.Tensor = self.layers(self.layers_norm(values))
        return values + added


_ADVERSARY_WEIGHT = 0.1  # pairs decide what is generated; the adversaries keep it from being an average


class AdversarialFusion(FeatureModule):
    """Adversarial fusion: generators fill in a missing text or image vector; adversaries judge what they generate.

    v' = G_ti(t) and t' = G_it(v) fill in what is missing on both sides (real vectors stay); then score = s cos of
    learned weighted sums, in which a generated modality has a weight of its own. The auxiliary loss trains the
    generators on products that have both modalities: pairs (1 - cos(G_ti(t), v)), cycles (1 - cos(G_it(G_ti(t)), t)),
    and adversaries A that classify generated against real vectors, through reversed gradients.

    Source: Wang et al., ACMR, ACM MM 2017, section 3. doi:10.1145/3123266.3123326. Cycles: Zhu et al., ICCV 2017, eq.
    2. arXiv:1703.10593.
    Gradient reversal: Ganin and Lempitsky, ICML 2015, section 3. arXiv:1409.7495
    """

    def __init__(self, widths: VectorWidths, config: FeatureFitConfig) -> None:
        super().__init__(widths, config)
        self.image_of_text = _generator(widths.text, widths.image, config.width)
        self.text_of_image = _generator(widths.image, widths.text, config.width)
        self.image_adversary = _adversary(widths.image, config.width)
        self.text_adversary = _adversary(widths.text, config.width)
        self.query_logits, self.product_logits = (nn.Parameter(torch.tensor([0.0, 0.0, -1.0, -1.0])) for _ in range(2))

    def read_products(self, products: ModalityTensors) -> MaskedTokens:
        return self._filled(products, self.product_text, self.product_image, self.product_logits)

    def read_queries(self, queries: ModalityTensors) -> MaskedTokens:
        return self._filled(queries, self.query_text, self.query_image, self.query_logits)

    def compare(self, queries: MaskedTokens, products: MaskedTokens) -> torch.Tensor:
        return self.cosine(queries.values[..., 0, :], products.values[..., 0, :])

    def generate_images(self, text: torch.Tensor) -> torch.Tensor:
        """Generate unit image vectors [N, E] for text vectors [N, D]."""
        return functional.normalize(self.image_of_text(text), dim=-1)

    def generate_texts(self, image: torch.Tensor) -> torch.Tensor:
        """Generate unit text vectors [N, D] for image vectors [N, E]."""
        return functional.normalize(self.text_of_image(image), dim=-1)

    def auxiliary_loss(self, products: ModalityTensors) -> torch.Tensor:
        both = products.has.all(dim=-1)
        if int(both.sum()) < 2:
            return products.text.new_zeros(())
        text, image = products.text[both], products.image[both]
        fake_image, fake_text = self.generate_images(text), self.generate_texts(image)
        pairs = _cosine_distance(fake_image, image) + _cosine_distance(fake_text, text)
        cycles = _cosine_distance(self.generate_texts(fake_image), text) + _cosine_distance(
            self.generate_images(fake_text), image
        )
        adversaries = _adversary_loss(self.image_adversary, image, fake_image) + _adversary_loss(
            self.text_adversary, text, fake_text
        )
        return pairs + cycles + _ADVERSARY_WEIGHT * adversaries

    def _filled(
        self, vectors: ModalityTensors, text: nn.Linear, image: nn.Linear, logits_M: torch.Tensor
    ) -> MaskedTokens:
        """Fuse four tokens to one: real text, real image, generated text, generated image."""
        real = self.project(vectors, text, image)
        masked_text = torch.where(vectors.has[..., 0:1], vectors.text, 0.0)
        masked_image = torch.where(vectors.has[..., 1:2], vectors.image, 0.0)
        fillable = ~vectors.has & vectors.has.flip(-1)
        generated = ModalityTensors(self.generate_texts(masked_image), self.generate_images(masked_text), fillable)
        fake = self.project(generated, text, image)
        tokens = MaskedTokens(torch.cat([real.values, fake.values], dim=-2), torch.cat([real.mask, fake.mask], dim=-1))
        return MaskedTokens(masked_weighted_sum(tokens, logits_M).unsqueeze(-2), vectors.has.any(dim=-1, keepdim=True))


class _GradientReversal(torch.autograd.Function):
    """The identity, with the sign of the gradient reversed."""

    @staticmethod
    def forward(_context: object, values: torch.Tensor) -> torch.Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(_context: object, *gradients: torch.Tensor) -> torch.Tensor:
        return -gradients[0]


def _generator(num_in: int, num_out: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(num_in, 2 * width), nn.ReLU(), nn.Linear(2 * width, num_out))


def _adversary(num_in: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(num_in, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))


def _cosine_distance(fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Mean of 1 - cosine."""
    return 1.0 - functional.cosine_similarity(fake, real, dim=-1).mean()


def _adversary_loss(adversary: nn.Sequential, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Loss of the adversary's classification; the generator increases it, through the reversed gradient."""
    reversed_fake: torch.Tensor = _GradientReversal.apply(fake)
    logits = torch.cat([adversary(real), adversary(reversed_fake)]).squeeze(-1)
    labels = torch.cat([torch.ones(len(real)), torch.zeros(len(fake))])
    return functional.binary_cross_entropy_with_logits(logits, labels)


_RANK = 4  # the full tensor would need width x width weights per output


class LowRankFusion(UnitTowers):
    """Low-rank tensor fusion: all interactions of the modalities, without their outer product.

    h = sum_r w_r prod_m (W_m^r [x_m; 1]), the product over the modalities that exist. The constant 1 keeps each single
    modality in it, and a missing modality is a factor of 1. score = s cos(v_query, v_product) with v = mean_m x_m + h

    Source: Liu et al., Low-rank Multimodal Fusion, ACL 2018, eq. 6-8. doi:10.18653/v1/P18-1209
    """

    def __init__(self, widths: VectorWidths, config: FeatureFitConfig) -> None:
        super().__init__(widths, config, _LowRankUnit)


class _LowRankUnit(nn.Module):
    def __init__(self, config: FeatureFitConfig) -> None:
        super().__init__()
        width = config.width
        self.factors = nn.ModuleList(nn.Linear(width, _RANK * width) for _ in range(_NUM_MODALITIES))
        self.rank_weights_R = nn.Parameter(torch.zeros(_RANK))  # adds nothing at first

    def forward(self, tokens: MaskedTokens) -> torch.Tensor:
        factors = torch.stack([factor(tokens.values[..., m, :]) for m, factor in enumerate(self.factors)], dim=-2)
        product = torch.where(tokens.mask.unsqueeze(-1), factors, 1.0).prod(dim=-2)
        interaction = torch.stack(product.chunk(_RANK, dim=-1), dim=-1) @ self.rank_weights_R
        any_modality = tokens.mask.any(dim=-1, keepdim=True)
        return masked_mean(tokens) + torch.where(any_modality, interaction, 0.0)


_NUM_FACTORS = 4  # k; the paper takes 5
_ROOT_EPSILON = 1e-8  # the slope of the root is infinite at 0


class BilinearFusion(FeatureModule):
    """Factorised bilinear pooling: products of every query and product dimension, through k factors per output.

    z = SumPool_k(U^T q * V^T p), then sign(z) sqrt|z| and unit length; score = s (cos(q, p) + w z), q and p the mean
    tokens. There are H outputs.

    Source: Yu, Yu, Fan and Tao, MFB, ICCV 2017, eq. 5 and section 3.1. doi:10.1109/ICCV.2017.202
    """

    def __init__(self, widths: VectorWidths, config: FeatureFitConfig) -> None:
        super().__init__(widths, config)
        self.query_factors = nn.Linear(config.width, _NUM_FACTORS * config.width, bias=False)
        self.product_factors = nn.Linear(config.width, _NUM_FACTORS * config.width, bias=False)
        self.head = zero_initialised(nn.Linear(config.width, 1, bias=False))

    def compare(self, queries: MaskedTokens, products: MaskedTokens) -> torch.Tensor:
        queries_GH, products_GCH = masked_mean(queries), masked_mean(products)
        factors = self.query_factors(queries_GH).unsqueeze(1) * self.product_factors(products_GCH)
        pooled = factors.unflatten(-1, (-1, _NUM_FACTORS)).sum(dim=-1)
        rooted = torch.sign(pooled) * (torch.sqrt(pooled.abs() + _ROOT_EPSILON) - _ROOT_EPSILON**0.5)
        added: torch.Tensor = self.head(functional.normalize(rooted, dim=-1)).squeeze(-1)
        return self.cosine(queries_GH, products_GCH) + self.scale() * added


FEATURE_MODULES: Mapping[FeatureMethodName, type[FeatureModule]] = {
    "average": AverageFusion,
    "weighted_sum": WeightedSumFusion,
    "concat": ConcatFusion,
    "dnn": DnnFusion,
    "gated": GatedFusion,
    "attention": AttentionFusion,
    "cross_attention": CrossAttentionFusion,
    "common_space": CommonSpaceFusion,
    "joint_transformer": JointTransformerFusion,
    "adversarial": AdversarialFusion,
    "low_rank": LowRankFusion,
    "bilinear": BilinearFusion,
}
"""The module of each method. Serving uses `scorer.py` instead, which needs no torch."""
