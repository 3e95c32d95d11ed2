"""Adversarial fusion: generators turn text into picture vectors and back, so that a missing one can stand in; adversaries judge them.

v' = G_ti(t) and t' = G_it(v) fill what is missing on both sides (real vectors stay); then score = s cos of learned weighted sums, where a
generated modality has a weight of its own. The generators learn from products that have both: pairs (1 - cos(G_ti(t), v)), cycles
(1 - cos(G_it(G_ti(t)), t)), and adversaries A that tell generated from real, through reversed gradients.

Source: Wang et al., ACMR, ACM MM 2017, section 3. doi:10.1145/3123266.3123326. Cycles: Zhu et al., ICCV 2017, eq. 2. arXiv:1703.10593.
Gradient reversal: Ganin and Lempitsky, ICML 2015, section 3. arXiv:1409.7495
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from intarsia.fusion.feature.config import JointConfig
from intarsia.fusion.feature.module import Dims, JointModule, Side, Tokens, weighted_sum

_ADVERSARY_WEIGHT = 0.1  # the pairs decide what is generated; adversaries keep it from being an average


class Adversarial(JointModule):
    """Generators, adversaries, and a weight for each modality that is real or generated."""

    def __init__(self, dims: Dims, config: JointConfig) -> None:
        super().__init__(dims, config)
        self.image_of_text = _generator(dims.text, dims.image, config.width)
        self.text_of_image = _generator(dims.image, dims.text, config.width)
        self.image_adversary, self.text_adversary = (
            _adversary(dims.image, config.width),
            _adversary(dims.text, config.width),
        )
        self.query_logits, self.product_logits = (nn.Parameter(torch.tensor([0.0, 0.0, -1.0, -1.0])) for _ in range(2))

    def read_products(self, products: Side) -> Tokens:
        """One token per product: the weighted sum of what is real, and of what is generated where the real one is missing."""
        return self._filled(products, self.product_text, self.product_image, self.product_logits)

    def read_queries(self, queries: Side) -> Tokens:
        """As for products."""
        return self._filled(queries, self.query_text, self.query_image, self.query_logits)

    def compare(self, queries: Tokens, products: Tokens) -> torch.Tensor:
        """Cosine of the weighted sums, [G, C]."""
        return self.cosine(queries.values[..., 0, :], products.values[..., 0, :])

    def generate_images(self, text: torch.Tensor) -> torch.Tensor:
        """Unit picture vectors [N, E] for texts [N, D]."""
        return functional.normalize(self.image_of_text(text), dim=-1)

    def generate_texts(self, image: torch.Tensor) -> torch.Tensor:
        """Unit text vectors [N, D] for pictures [N, E]."""
        return functional.normalize(self.text_of_image(image), dim=-1)

    def own_loss(self, products: Side) -> torch.Tensor:
        """Pairs, cycles and adversaries, over the products that have both."""
        both = products.has.all(dim=-1)
        if int(both.sum()) < 2:
            return products.text.new_zeros(())
        text, image = products.text[both], products.image[both]
        made_image, made_text = self.generate_images(text), self.generate_texts(image)
        pairs = _apart(made_image, image) + _apart(made_text, text)
        cycles = _apart(self.generate_texts(made_image), text) + _apart(self.generate_images(made_text), image)
        adversaries = _told(self.image_adversary, image, made_image) + _told(self.text_adversary, text, made_text)
        return pairs + cycles + _ADVERSARY_WEIGHT * adversaries

    def _filled(self, side: Side, text: nn.Linear, image: nn.Linear, logits_M: torch.Tensor) -> Tokens:
        """Real text, real image, generated text, generated image into one."""
        real = self.project(side, text, image)
        cut_text = torch.where(side.has[..., 0:1], side.text, 0.0)
        cut_image = torch.where(side.has[..., 1:2], side.image, 0.0)
        fillable = ~side.has & side.has.flip(-1)
        made = self.project(Side(self.generate_texts(cut_image), self.generate_images(cut_text), fillable), text, image)
        four = Tokens(torch.cat([real.values, made.values], dim=-2), torch.cat([real.there, made.there], dim=-1))
        return Tokens(weighted_sum(four, logits_M).unsqueeze(-2), side.has.any(dim=-1, keepdim=True))


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is turned round."""

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


def _apart(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Mean of 1 - cosine."""
    return 1.0 - functional.cosine_similarity(made, real, dim=-1).mean()


def _told(adversary: nn.Sequential, real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """How badly the adversary tells real from made: it learns to tell, the generator, through the reversed gradient, not to be told."""
    reversed_made: torch.Tensor = _Reversed.apply(made)
    logits = torch.cat([adversary(real), adversary(reversed_made)]).squeeze(-1)
    truth = torch.cat([torch.ones(len(real)), torch.zeros(len(made))])
    return functional.binary_cross_entropy_with_logits(logits, truth)
