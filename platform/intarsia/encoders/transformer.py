"""Text encoders of `transformers`: the BERT family, causal models such as GPT-2, the text side of the CLIP family.

Letters: N texts, T tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, processors
from torch import nn

from intarsia.encoders.clip import NOT_OF_THE_TEXT_SIDE, OWN_POOLING, ClipTextTower, is_clip
from intarsia.encoders.config import OFFLINE, TextEncoderConfig
from intarsia.encoders.inputs import TextTokenizer
from intarsia.encoders.offline_weights import offline_files
from intarsia.encoders.pooling import last_token, mean_of_tokens, unit_rows
from intarsia.encoders.pretrained import check_no_missing, load_pretrained
from intarsia.encoders.protocol import digest_arrays, name_space
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.errors import ArtifactError, ConfigError
from intarsia.ids import SpaceId, sha256_bytes

_ATTENTION_SETTINGS = ("model_type", "num_attention_heads", "hidden_act", "layer_norm_eps", "position_embedding_type")
_CAUSAL_SETTINGS = ("activation_function", "layer_norm_epsilon", "scale_attn_by_inverse_layer_idx")
"""Settings of a model that change its vectors but not the shapes of its weights."""
_POOLER = "pooler."  # BERT's layer for sentence pairs; not used here


class TextTower(nn.Module):
    """Transformer, pooling and normalisation in one graph: token ids and mask in, unit vectors out."""

    def __init__(self, transformer: transformers.PreTrainedModel, pooling: str) -> None:
        super().__init__()
        self.transformer = transformer
        self.width = int(transformer.config.hidden_size)
        self._pooling = pooling

    def forward(self, ids_NT: torch.Tensor, mask_NT: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, D] of int64 ids and mask."""
        states_NTD = self.transformer(input_ids=ids_NT, attention_mask=mask_NT).last_hidden_state
        if self._pooling == "cls":
            return unit_rows(states_NTD[:, 0])
        pool = last_token if self._pooling == "last" else mean_of_tokens
        return unit_rows(pool(states_NTD, mask_NT))


class TransformerTextEncoder(TorchTextEncoder):
    """A `TorchTextEncoder` whose tower contains a `transformers` model, `tower.transformer`."""

    tower: TextTower | ClipTextTower

    def __init__(
        self, config: TextEncoderConfig, tower: TextTower | ClipTextTower, tokenizer: TextTokenizer, pad_id: int
    ) -> None:
        super().__init__(config, tower, tokenizer, pad_id, _space_of(config, tower, tokenizer))


def open_transformer(config: TextEncoderConfig) -> TransformerTextEncoder:
    """Open a `transformers` encoder from hub name, folder or offline package.

    Raises:
        ArtifactError: the weights are missing, incomplete or have another digest than pinned, or there is no matching
            fast tokenizer.
        ConfigError: the settings do not suit the model.
    """
    path = str(offline_files(config.model)[0].parent) if config.model.startswith(OFFLINE) else config.model
    model_name = f"text model {config.model!r}"
    model, tokenizer, missing = load_pretrained(
        path,
        transformers.AutoTokenizer,
        model_name=model_name,
        fix="a folder with config.json, weights and tokenizer, to a reachable hub name, or to offline:all-MiniLM-L6-v2",
    )
    check_no_missing([name for name in missing if not name.startswith((_POOLER, *NOT_OF_THE_TEXT_SIDE))], model_name)
    if any(name.startswith(_POOLER) for name in missing):
        model.pooler = None  # random and unused, but it would change the space id
    fast_tokenizer = getattr(tokenizer, "backend_tokenizer", None)
    if fast_tokenizer is None or fast_tokenizer.get_vocab_size() <= len(tokenizer.all_special_tokens):
        raise ArtifactError(  # transformers returns an empty tokenizer if a folder has none
            f"{model_name} has no fast tokenizer with a vocabulary; put its tokenizer.json into the folder of the "
            "weights"
        )
    _add_end_token(fast_tokenizer, tokenizer.eos_token, model_name)
    return text_encoder_of(config, model, fast_tokenizer, int(tokenizer.pad_token_id or 0))


def text_encoder_of(config: TextEncoderConfig, model: Any, tokenizer: Tokenizer, pad_id: int) -> TransformerTextEncoder:
    """Build the encoder of a `transformers` model and its tokenizer. Raises like `open_transformer`."""
    model_config = getattr(model.config, "text_config", model.config)
    if tokenizer.get_vocab_size() > model_config.vocab_size:
        raise ArtifactError(
            f"the tokenizer of text model {config.model!r} has {tokenizer.get_vocab_size()} tokens, the model "
            f"{model_config.vocab_size}; the two do not belong together"
        )
    limit = int(getattr(model_config, "max_position_embeddings", config.max_tokens))
    if config.max_tokens > limit:
        raise ArtifactError(f"text model {config.model!r} reads {limit} tokens; max_tokens is {config.max_tokens}")
    text_tokenizer = TextTokenizer(
        tokenizer, max_tokens=config.max_tokens, reading=config.reading, prefix=config.prefix
    )
    if is_clip(model):
        return TransformerTextEncoder(config, ClipTextTower(model, pad_id), text_tokenizer, pad_id)
    model.config.use_cache = False  # causal models would keep keys and values for a next token
    if config.pooling == "cls" and is_causal(model):
        raise ConfigError(
            f"pooling is 'cls', but {config.model!r} is a causal model, whose first token does not see the others: "
            "every text would have the vector of its first token; set pooling to last or mean"
        )
    return TransformerTextEncoder(config, TextTower(model, config.pooling), text_tokenizer, pad_id)


def _add_end_token(tokenizer: Tokenizer, end_token: str | None, model_name: str) -> None:
    """Append the end token to each text if a tokenizer adds no special tokens (GPT-2), so that an empty text has a
    token.
    """
    if tokenizer.encode("").ids:
        return
    if end_token is None:
        raise ArtifactError(
            f"the tokenizer of {model_name} gives no token for an empty text and has no eos_token; set eos_token in "
            "its tokenizer_config.json"
        )
    post_processor = processors.TemplateProcessing(
        single=f"$A {end_token}", special_tokens=[(end_token, tokenizer.token_to_id(end_token))]
    )
    tokenizer.post_processor = post_processor


def is_causal(model: Any) -> bool:
    """Whether the first token's state does not depend on the tokens after it."""
    with torch.inference_mode():
        states_2TD = model.eval()(input_ids=torch.tensor([[0, 0, 0], [0, 1, 1]])).last_hidden_state
    return bool(torch.equal(states_2TD[0, 0], states_2TD[1, 0]))


def _space_of(config: TextEncoderConfig, tower: TextTower | ClipTextTower, tokenizer: TextTokenizer) -> SpaceId:
    model_config = getattr(tower.transformer.config, "text_config", tower.transformer.config)
    weights = digest_arrays((name, tensor.numpy()) for name, tensor in tower.transformer.state_dict().items())
    architecture = {name: getattr(model_config, name, None) for name in _ATTENTION_SETTINGS}
    architecture |= {name: getattr(model_config, name) for name in _CAUSAL_SETTINGS if hasattr(model_config, name)}
    settings = {
        "pooling": OWN_POOLING if isinstance(tower, ClipTextTower) else config.pooling,
        "reading": config.reading,
        "prefix": config.prefix,
        "tokenizer": sha256_bytes(tokenizer.content().encode()),  # includes max_tokens
        "architecture": architecture,
    }
    return name_space("text", weights, settings)
