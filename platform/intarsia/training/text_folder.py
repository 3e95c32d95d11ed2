"""Save a text tower as a folder that `open_text_encoder` reads: weights and config as `transformers` writes them, and
the tokenizer.
"""

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

_SPECIAL_TOKENS = {
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}
"""Names of special tokens. The vocabulary of a tokenizer decides which of them it has."""


def save_text_tower(encoder: TorchTextEncoder, folder: Path) -> None:
    """Write an encoder into `folder`. Opened with the same pooling, reading, prefix and max_tokens it is the same
    encoder.

    Raises:
        ConfigError: it is not a torch encoder of `open_text_encoder`.
    """
    if isinstance(encoder, RecurrentTextEncoder):
        encoder.save(folder)
        return
    if not isinstance(encoder, TransformerTextEncoder):
        raise ConfigError(f"{type(encoder).__name__} cannot be saved as a folder; allowed: encoders that torch runs")
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = encoder.tower.transformer
    with quiet_transformers():
        model.save_pretrained(folder)
    tokenizer = Tokenizer.from_str(encoder.tokenizer.content())
    special_tokens = {
        kind: token
        for kind, names in _SPECIAL_TOKENS.items()
        if (token := next((name for name in names if tokenizer.token_to_id(name) is not None), None))
    }
    if (pad := tokenizer.id_to_token(encoder.pad_id)) is not None:
        special_tokens["pad_token"] = pad
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special_tokens).save_pretrained(folder)


def mask_id_of(encoder: TorchTextEncoder) -> int:
    """The id of the mask token.

    Raises:
        ConfigError: the tokenizer has none.
    """
    tokenizer = Tokenizer.from_str(encoder.tokenizer.content())
    for name in _SPECIAL_TOKENS["mask_token"]:
        if (token_id := tokenizer.token_to_id(name)) is not None:
            return int(token_id)
    raise ConfigError(
        f"the tokenizer of {encoder.config.model!r} has no {' or '.join(_SPECIAL_TOKENS['mask_token'])}, so no word "
        "can be masked; set masked_epochs to 0"
    )


def get_arrays(encoder: TorchTextEncoder) -> dict[str, NDArray[np.generic]]:
    """Copy the parameters and buffers of a tower, by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in encoder.tower.state_dict().items()}


def set_arrays(encoder: TorchTextEncoder, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Load parameters and buffers from `get_arrays` of an equal tower. The space id of the encoder does not change."""
    encoder.tower.load_state_dict(
        {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    )
