"""A text tower as a folder that `open_text_encoder` opens: weights and config as `transformers` writes them, the tokenizer beside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer

from intarsia.encoders.pretrained import quiet_transformers
from intarsia.encoders.recurrent import RecurrentTextEncoder
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.encoders.transformer import TransformerTextEncoder
from intarsia.errors import ConfigError

_MARKS = {
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}
"""What tokenizers call their marks; which of them a tokenizer has is read from its vocabulary."""


def save_text_tower(encoder: TorchTextEncoder, folder: Path) -> None:
    """Write what `encoder` is made of into `folder`; opened with the same pooling, reading, prefix and max_tokens it is the same encoder.

    Raises:
        ConfigError: not a torch encoder that `open_text_encoder` gave.
    """
    if isinstance(encoder, RecurrentTextEncoder):
        encoder.save(folder)
        return
    if not isinstance(encoder, TransformerTextEncoder):
        raise ConfigError(f"{type(encoder).__name__} cannot be written as a folder; give a tower that torch runs")
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = encoder.tower.transformer
    with quiet_transformers():
        model.save_pretrained(folder)
    words = Tokenizer.from_str(encoder.tokenizer.content())
    marks = {
        mark: found
        for mark, names in _MARKS.items()
        if (found := next((name for name in names if words.token_to_id(name) is not None), None))
    }
    if (pad := words.id_to_token(encoder.pad_id)) is not None:
        marks["pad_token"] = pad
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **marks).save_pretrained(folder)


def mask_id_of(encoder: TorchTextEncoder) -> int:
    """The token that stands for a hidden word.

    Raises:
        ConfigError: the tokenizer has none.
    """
    words = Tokenizer.from_str(encoder.tokenizer.content())
    for name in _MARKS["mask_token"]:
        if (number := words.token_to_id(name)) is not None:
            return int(number)
    raise ConfigError(
        f"the tokenizer of {encoder.config.model!r} has no {' or '.join(_MARKS['mask_token'])}: no word can be hidden; "
        "set masked_epochs to 0"
    )


def get_arrays(encoder: TorchTextEncoder) -> dict[str, NDArray[np.generic]]:
    """The parameters and buffers of a tower by name, copied."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in encoder.tower.state_dict().items()}


def set_arrays(encoder: TorchTextEncoder, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Give a tower the parameters and buffers that `arrays_of` one like it gave; its space keeps the name that it was opened with."""
    encoder.tower.load_state_dict(
        {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    )
