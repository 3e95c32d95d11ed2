"""Attention heads of a BERT that were cut out for good: how the model is narrowed, and how its folder is opened again.

`transformers` has no word for layers with different numbers of heads; the folder's config.json says, under `kept_heads`, which heads each
layer has left. Which heads to cut is `learning/prune.py`'s matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers
from torch import nn

from intarsia.errors import ArtifactError, ConfigError

KEPT_HEADS = "kept_heads"
_POOLER = "pooler."  # not every model comes with it


def attention_layers(model: Any) -> list[Any]:
    """The attention blocks of a BERT or its kin, from the first layer to the last.

    Raises:
        ConfigError: a model that is built otherwise.
    """
    try:
        return [layer.attention for layer in model.encoder.layer if layer.attention.self.query is not None]
    except AttributeError:
        raise ConfigError(
            f"the attention of a {type(model).__name__} is not built as BERT's; heads and neurons are cut of BERT and its kin alone"
        ) from None


def cut_heads(model: Any, kept: Sequence[Sequence[int]]) -> None:
    """Leave each layer the named heads, numbered from 0 as they are now; the rest of its four matrices goes.

    Args:
        model: a BERT or its kin, changed in place.
        kept: per layer, ascending, at least one.
    """
    before = getattr(model.config, KEPT_HEADS, None)
    for attention, heads in zip(attention_layers(model), kept, strict=True):
        own = attention.self
        width = own.attention_head_size
        columns = torch.cat([torch.arange(head * width, (head + 1) * width) for head in heads])
        for name in ("query", "key", "value"):
            setattr(own, name, _narrowed(getattr(own, name), rows=columns))
        attention.output.dense = _narrowed(attention.output.dense, columns=columns)
        own.num_attention_heads, own.all_head_size = len(heads), len(columns)
    numbered = [list(heads) for heads in kept]
    if before is not None:
        numbered = [[old[head] for head in heads] for old, heads in zip(before, kept, strict=True)]
    setattr(model.config, KEPT_HEADS, numbered)


def open_pruned(folder: Path, config: Any) -> Any:
    """A saved model whose heads were cut.

    Raises:
        ArtifactError: its weights are gone, or do not fit its config.
    """
    kept = getattr(config, KEPT_HEADS)
    delattr(config, KEPT_HEADS)
    model = transformers.AutoModel.from_config(config)
    cut_heads(model, kept)
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ArtifactError(f"{path} is gone; save the model again")
    state = safetensors.torch.load_file(path)
    if not any(name.startswith(_POOLER) for name in state):
        model.pooler = None
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ArtifactError(f"{path} does not fit its config.json: {error}") from None
    return model.float().eval()


def _narrowed(layer: nn.Linear, *, rows: torch.Tensor | None = None, columns: torch.Tensor | None = None) -> nn.Linear:
    weight, bias = layer.weight.detach(), layer.bias.detach()
    if rows is not None:
        weight, bias = weight[rows], bias[rows]
    if columns is not None:
        weight = weight[:, columns]
    narrow = nn.Linear(weight.shape[1], weight.shape[0])
    narrow.weight, narrow.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return narrow


def cut_neurons(model: Any, kept: Sequence[Sequence[int]]) -> None:
    """Leave each layer's feed-forward block the named inner units; the same number in each, so that config.json can say it.

    Args:
        model: a BERT or its kin, changed in place.
        kept: per layer, ascending.
    """
    attention_layers(model)
    assert len({len(units) for units in kept}) == 1, "every layer keeps as many"
    for layer, units in zip(model.encoder.layer, kept, strict=True):
        at = torch.tensor(units)
        layer.intermediate.dense = _narrowed(layer.intermediate.dense, rows=at)
        layer.output.dense = _narrowed(layer.output.dense, columns=at)
    model.config.intermediate_size = len(kept[0])
