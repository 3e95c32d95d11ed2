"""A fitted module into the ONNX graphs that `scorer.py` runs.

Letters: N products, G queries, C candidates, M tokens.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from intarsia.fusion.feature.adversarial import Adversarial
from intarsia.fusion.feature.config import JointKind
from intarsia.fusion.feature.module import Dims, JointModule, Side, Tokens
from intarsia.fusion.feature.scorer import GENERATOR, PRODUCTS, SCORES, JointScorer

_OPSET = 17


class _Graph(nn.Module):
    """A function of the module as a module of its own, which is what the tracer takes."""

    def __init__(self, module: JointModule, run: Callable[..., object]) -> None:
        super().__init__()
        self.module, self.run = module, run

    def forward(self, *inputs: torch.Tensor) -> object:
        return self.run(*inputs)


def export_joint(kind: JointKind, module: JointModule, dims: Dims, notes: Mapping[str, object]) -> JointScorer:
    """The scorer of a fitted module; `notes` go into its card."""
    module.eval()
    products, query = _example(dims, 2), _example(dims, 1)
    with torch.inference_mode():
        tokens = module.read_products(products)
    candidates = Tokens(tokens.values.unsqueeze(0), tokens.there.unsqueeze(0))

    def read(*side: torch.Tensor) -> Tokens:
        return module.read_products(Side(*side))

    def score(text: torch.Tensor, image: torch.Tensor, has: torch.Tensor, *found: torch.Tensor) -> torch.Tensor:
        return module.compare(module.read_queries(Side(text, image, has)), Tokens(*found))

    names = Side._fields
    files = {
        PRODUCTS: _trace(_Graph(module, read), dict(zip(names, products, strict=True)), ["values", "there"], axis=0),
        SCORES: _trace(
            _Graph(module, score),
            dict(zip((*names, *Tokens._fields), (*query, *candidates), strict=True)),
            ["scores"],
            axis=1,
            free=(*Tokens._fields, "scores"),
        ),
    }
    if isinstance(module, Adversarial):
        files[GENERATOR] = _trace(_Graph(module, module.generate_images), {"text": products.text}, ["image"], axis=0)
    card: dict[str, Any] = {"kind": kind, "text_dim": dims.text, "image_dim": dims.image, **notes}
    return JointScorer(card, files)


def _example(dims: Dims, num: int) -> Side:
    return Side(torch.ones(num, dims.text), torch.ones(num, dims.image), torch.ones(num, 2, dtype=torch.bool))


def _trace(
    graph: nn.Module, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str], *, axis: int, free: Sequence[str] = ()
) -> bytes:
    """The graph as ONNX; `axis` of the named inputs and outputs (all, if none is named) may have any length."""
    with tempfile.TemporaryDirectory() as aside, warnings.catch_warnings(), torch.inference_mode():
        path = Path(aside) / "graph.onnx"
        warnings.simplefilter("ignore")  # of the tracer: it cannot know which sizes stay
        torch.onnx.export(
            graph.eval(),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {axis: "rows"} for name in free or (*inputs, *outputs)},
            opset_version=_OPSET,
            dynamo=False,
        )
        return path.read_bytes()
