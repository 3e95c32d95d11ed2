"""Text encoders of the BERT family, run by torch: what embeds catalogs, and what is exported for queries.

Letters: N texts, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import nn

from intarsia.encoders.config import OFFLINE, TextEncoderConfig
from intarsia.encoders.offline_weights import offline_files
from intarsia.encoders.pooling import mean_of_tokens, unit
from intarsia.encoders.space import digest_arrays, name_space
from intarsia.encoders.tokenizer import TextTokenizer, pad
from intarsia.errors import ArtifactError
from intarsia.ids import SpaceId, sha256_bytes

_READ_BY_ATTENTION = ("model_type", "num_attention_heads", "hidden_act", "layer_norm_eps", "position_embedding_type")
"""Of a model's own configuration: what changes its vectors and cannot be seen in the shapes of its weights."""


class TextTower(nn.Module):
    """Transformer, pooling and norm in one graph: token ids and mask in, unit vectors out."""

    def __init__(self, transformer: transformers.PreTrainedModel, pooling: str) -> None:
        super().__init__()
        self.transformer = transformer
        self.width = int(transformer.config.hidden_size)
        self._pooling = pooling

    def forward(self, ids_NT: torch.Tensor, mask_NT: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, D] of int64 ids and mask."""
        states_NTD = self.transformer(input_ids=ids_NT, attention_mask=mask_NT).last_hidden_state
        pooled_ND = states_NTD[:, 0] if self._pooling == "cls" else mean_of_tokens(states_NTD, mask_NT)
        return unit(pooled_ND)


class TransformerTextEncoder:
    """`Encoder[str]` over a `TextTower`.

    Texts are sorted by length, so that a batch holds little padding, and given back in their order. A text's vector depends on its batch
    by less than 1e-6 per component (sums in another order), never by its neighbours' words.
    """

    def __init__(self, config: TextEncoderConfig, tower: TextTower, tokenizer: TextTokenizer, pad_id: int) -> None:
        self.config = config
        self.tower = tower.eval()
        self.tokenizer = tokenizer
        self._pad_id = pad_id
        self._device = "cpu"
        self.dim = int(tower.width)
        self.space_id = _space_of(config, tower, tokenizer)

    def to(self, device: str) -> None:
        """Compute there from now on, such as `cuda`; vectors differ by rounding, the space stays."""
        self.tower.to(device)
        self._device = device

    def encode(self, items: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors in the order of `items`."""
        vectors_ND = np.empty((len(items), self.dim), np.float32)
        tokens = self.tokenizer.ids(items)
        order = sorted(range(len(tokens)), key=lambda n: len(tokens[n]))
        for start in range(0, len(order), self.config.batch_size):
            chosen = order[start : start + self.config.batch_size]
            ids_NT, mask_NT = pad([tokens[n] for n in chosen], self._pad_id)
            with torch.inference_mode():
                ids, mask = (torch.from_numpy(given_NT).to(self._device) for given_NT in (ids_NT, mask_NT))
                vectors_ND[chosen] = self.tower(ids, mask).cpu().numpy()
        return vectors_ND


def open_transformer(config: TextEncoderConfig) -> TransformerTextEncoder:
    """A `transformers` encoder from hub name, folder or offline package.

    Raises:
        ArtifactError: the weights are not there (with what to install or set), have another digest than pinned, or no fast
            tokenizer that fits comes with them.
    """
    transformers.utils.logging.disable_progress_bar()  # jobs report their own progress
    place = str(offline_files(config.model)[0].parent) if config.model.startswith(OFFLINE) else config.model
    try:
        model = transformers.AutoModel.from_pretrained(place, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"text model {config.model!r} cannot be loaded: {_first_line(error)}. Set `model` to a folder with config.json, weights and "
            "tokenizer, to a hub name that this machine can reach, or to offline:all-MiniLM-L6-v2"
        ) from error
    words = getattr(tokenizer, "backend_tokenizer", None)
    if words is None or words.get_vocab_size() <= len(tokenizer.all_special_tokens):
        raise ArtifactError(  # transformers makes an empty tokenizer where a folder holds none
            f"text model {config.model!r} has no fast tokenizer with a vocabulary; put its tokenizer.json beside the weights"
        )
    if words.get_vocab_size() > model.config.vocab_size:
        raise ArtifactError(
            f"the tokenizer of text model {config.model!r} has {words.get_vocab_size()} tokens, the model {model.config.vocab_size}; "
            "the two do not belong together"
        )
    limit = int(getattr(model.config, "max_position_embeddings", config.max_tokens))
    if config.max_tokens > limit:
        raise ArtifactError(f"text model {config.model!r} reads {limit} tokens; max_tokens is {config.max_tokens}")
    reader = TextTokenizer(words, max_tokens=config.max_tokens, reading=config.reading, prefix=config.prefix)
    return TransformerTextEncoder(config, TextTower(model, config.pooling), reader, int(tokenizer.pad_token_id or 0))


def _space_of(config: TextEncoderConfig, tower: TextTower, tokenizer: TextTokenizer) -> SpaceId:
    own = tower.transformer.config
    weights = digest_arrays((name, tensor.numpy()) for name, tensor in tower.transformer.state_dict().items())
    settings = {
        "pooling": config.pooling,
        "reading": config.reading,
        "prefix": config.prefix,
        "tokenizer": sha256_bytes(tokenizer.content().encode()),  # holds max_tokens
        "architecture": {name: getattr(own, name, None) for name in _READ_BY_ATTENTION},
    }
    return name_space("text", weights, settings)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
