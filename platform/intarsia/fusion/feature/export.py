"""Exports a fitted module to the ONNX graphs that `scorer.py` runs.

Shapes: N products, G queries, C candidates, M tokens.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from intarsia.fusion.feature.config import FeatureMethodName
from intarsia.fusion.feature.modules import (
    AdversarialFusion,
    FeatureModule,
    MaskedTokens,
    ModalityTensors,
    VectorWidths,
)
from intarsia.fusion.feature.scorer import (
    GENERATOR_GRAPH,
    PRODUCTS_GRAPH,
    SCORES_GRAPH,
    TOKEN_INPUTS,
    FeatureScorer,
)

_OPSET = 17


class _FunctionModule(nn.Module):
    """A function of the module as an `nn.Module`, which the tracer needs."""

    def __init__(self, module: FeatureModule, run: Callable[..., object]) -> None:
        super().__init__()
        self.module, self.run = module, run

    def forward(self, *inputs: torch.Tensor) -> object:
        return self.run(*inputs)


def export_scorer(
    kind: FeatureMethodName, module: FeatureModule, widths: VectorWidths, metadata: Mapping[str, object]
) -> FeatureScorer:
    """Make the scorer of a fitted module; `metadata` are added to the scorer's metadata."""
    module.eval()
    products, query = _example(widths, 2), _example(widths, 1)
    with torch.inference_mode():
        tokens = module.read_products(products)
    candidates = MaskedTokens(tokens.values.unsqueeze(0), tokens.mask.unsqueeze(0))

    def read(*vectors: torch.Tensor) -> MaskedTokens:
        return module.read_products(ModalityTensors(*vectors))

    def score(text: torch.Tensor, image: torch.Tensor, has: torch.Tensor, *tokens: torch.Tensor) -> torch.Tensor:
        return module.compare(module.read_queries(ModalityTensors(text, image, has)), MaskedTokens(*tokens))

    names = ModalityTensors._fields
    files = {
        PRODUCTS_GRAPH: _trace(
            _FunctionModule(module, read), dict(zip(names, products, strict=True)), TOKEN_INPUTS, axis=0
        ),
        SCORES_GRAPH: _trace(
            _FunctionModule(module, score),
            dict(zip((*names, *TOKEN_INPUTS), (*query, *candidates), strict=True)),
            ["scores"],
            axis=1,
            dynamic=(*TOKEN_INPUTS, "scores"),
        ),
    }
    if isinstance(module, AdversarialFusion):
        generator = _FunctionModule(module, module.generate_images)
        files[GENERATOR_GRAPH] = _trace(generator, {"text": products.text}, ["image"], axis=0)
    all_metadata: dict[str, Any] = {"kind": kind, "text_dim": widths.text, "image_dim": widths.image, **metadata}
    return FeatureScorer(all_metadata, files)


def _example(widths: VectorWidths, num: int) -> ModalityTensors:
    return ModalityTensors(
        torch.ones(num, widths.text), torch.ones(num, widths.image), torch.ones(num, 2, dtype=torch.bool)
    )


def _trace(
    graph: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    *,
    axis: int,
    dynamic: Sequence[str] = (),
) -> bytes:
    """Trace a module to ONNX; `axis` of the inputs and outputs in `dynamic` (default: all) may have any length."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.inference_mode():
        path = Path(folder) / "graph.onnx"
        warnings.simplefilter("ignore")  # the tracer warns about sizes that it treats as constants
        torch.onnx.export(
            graph.eval(),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {axis: "rows"} for name in dynamic or (*inputs, *outputs)},
            opset_version=_OPSET,
            dynamo=False,
        )
        return path.read_bytes()
