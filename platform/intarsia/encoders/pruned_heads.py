"""Removal of attention heads and feed-forward units of BERT models, and loading of such models.

`transformers` has no setting for layers with different numbers of heads; the config.json of the folder lists the
remaining heads of each layer under `kept_heads`. `training/compression.py` chooses the heads.
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
_POOLER = "pooler."  # not every model has one


def attention_layers(model: Any) -> list[Any]:
    """The attention blocks of a model of the BERT family, from the first layer to the last.

    Raises:
        ConfigError: the model has another structure.
    """
    try:
        return [layer.attention for layer in model.encoder.layer if layer.attention.self.query is not None]
    except AttributeError:
        raise ConfigError(
            f"the attention of a {type(model).__name__} differs from BERT's; allowed for cut_heads and kept_units: the "
            "BERT family"
        ) from None


def cut_heads(model: Any, kept: Sequence[Sequence[int]]) -> None:
    """Keep the given heads of each layer, numbered from 0 in the current model, and remove the others from its four
    matrices.

    Args:
        model: of the BERT family; changed in place.
        kept: per layer, ascending, at least one.
    """
    before = getattr(model.config, KEPT_HEADS, None)
    for attention, heads in zip(attention_layers(model), kept, strict=True):
        attention_layer = attention.self
        width = attention_layer.attention_head_size
        columns = torch.cat([torch.arange(head * width, (head + 1) * width) for head in heads])
        for name in ("query", "key", "value"):
            setattr(attention_layer, name, _narrowed(getattr(attention_layer, name), rows=columns))
        attention.output.dense = _narrowed(attention.output.dense, columns=columns)
        attention_layer.num_attention_heads, attention_layer.all_head_size = len(heads), len(columns)
    original_numbers = [list(heads) for heads in kept]
    if before is not None:
        original_numbers = [[old[head] for head in heads] for old, heads in zip(before, kept, strict=True)]
    setattr(model.config, KEPT_HEADS, original_numbers)


def open_pruned(folder: Path, config: Any) -> Any:
    """Load a saved model whose heads were removed.

    Raises:
        ArtifactError: its weights are missing, or do not match its config.
    """
    kept = getattr(config, KEPT_HEADS)
    delattr(config, KEPT_HEADS)
    model = transformers.AutoModel.from_config(config)
    cut_heads(model, kept)
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; save the model again")
    state = safetensors.torch.load_file(path)
    if not any(name.startswith(_POOLER) for name in state):
        model.pooler = None
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ArtifactError(f"{path} does not match its config.json: {error}") from None
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
    """Keep the given inner units of each feed-forward block; the same number in every layer, since config.json has one
    number.

    Args:
        model: of the BERT family; changed in place.
        kept: per layer, ascending.
    """
    attention_layers(model)
    assert len({len(units) for units in kept}) == 1, "every layer keeps the same number"
    for layer, units in zip(model.encoder.layer, kept, strict=True):
        index = torch.tensor(units)
        layer.intermediate.dense = _narrowed(layer.intermediate.dense, rows=index)
        layer.output.dense = _narrowed(layer.output.dense, columns=index)
    model.config.intermediate_size = len(kept[0])
