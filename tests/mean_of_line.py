"""A training task whose steps can be computed by hand."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from intarsia.training.task import Rows, Tensors


class Line(nn.Module):
    """y = w * x, with w = 1 at the start, and a bias that is frozen at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1, 1))
        self.bias = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.register_buffer("mean", torch.full((1,), 0.25))

    def forward(self, x_b: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": x_b * self.w[0] + self.bias}


class MeanOfLine:
    """The loss is the mean of w * x; its gradient is the mean of x, for every w."""

    def __init__(self, num_examples: int = 4, figures: tuple[float, ...] = ()) -> None:
        self.module = Line()
        self.num_examples = num_examples
        self.x_N = torch.arange(1.0, num_examples + 1.0)
        self.figures = list(figures)
        self.gradients: list[float] = []
        self.was_training: list[bool] = []

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        return {"x_b": self.x_N[rows_b]}

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        self.was_training.append(self.module.training)
        return outputs["y"].mean()

    def measure(self) -> Mapping[str, float]:
        assert not self.module.training and not torch.is_grad_enabled()
        return {"figure": self.figures.pop(0)} if self.figures else {}

    def after_step(self, step: int, num_steps: int) -> None:
        assert self.module.w.grad is not None
        self.gradients.append(float(self.module.w.grad))
