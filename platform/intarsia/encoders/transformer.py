"""Text encoders over `transformers`: the BERT family, causal models such as GPT-2, the text side of the CLIP family.

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
from intarsia.encoders.pretrained import load_pretrained, refuse_missing
from intarsia.encoders.protocol import digest_arrays, name_space
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.errors import ArtifactError, ConfigError
from intarsia.ids import SpaceId, sha256_bytes

_READ_BY_ATTENTION = ("model_type", "num_attention_heads", "hidden_act", "layer_norm_eps", "position_embedding_type")
_READ_BY_CAUSAL_MODELS = ("activation_function", "layer_norm_epsilon", "scale_attn_by_inverse_layer_idx")
"""Of a model's own configuration: what changes its vectors and cannot be seen in the shapes of its weights."""
_POOLER = "pooler."  # BERT's layer for sentence pairs; nothing here reads it


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
        if self._pooling == "cls":
            return unit_rows(states_NTD[:, 0])
        pool = last_token if self._pooling == "last" else mean_of_tokens
        return unit_rows(pool(states_NTD, mask_NT))


class TransformerTextEncoder(TorchTextEncoder):
    """A `TorchTextEncoder` whose tower stands on a `transformers` model, `tower.transformer`."""

    tower: TextTower | ClipTextTower

    def __init__(
        self, config: TextEncoderConfig, tower: TextTower | ClipTextTower, tokenizer: TextTokenizer, pad_id: int
    ) -> None:
        super().__init__(config, tower, tokenizer, pad_id, _space_of(config, tower, tokenizer))


def open_transformer(config: TextEncoderConfig) -> TransformerTextEncoder:
    """A `transformers` encoder from hub name, folder or offline package.

    Raises:
        ArtifactError: the weights are not there (with what to install or set), are not all there, have another digest than pinned, or no
            fast tokenizer that fits comes with them.
        ConfigError: settings that do not go with this model.
    """
    place = str(offline_files(config.model)[0].parent) if config.model.startswith(OFFLINE) else config.model
    told = f"text model {config.model!r}"
    model, tokenizer, missing = load_pretrained(
        place,
        transformers.AutoTokenizer,
        told=told,
        mend="a folder with config.json, weights and tokenizer, to a hub name that this machine can reach, or to offline:all-MiniLM-L6-v2",
    )
    refuse_missing([name for name in missing if not name.startswith((_POOLER, *NOT_OF_THE_TEXT_SIDE))], told)
    if any(name.startswith(_POOLER) for name in missing):
        model.pooler = (
            None  # random now, and differently another time; nothing reads it, but it would be in the space's name
        )
    words = getattr(tokenizer, "backend_tokenizer", None)
    if words is None or words.get_vocab_size() <= len(tokenizer.all_special_tokens):
        raise ArtifactError(  # transformers makes an empty tokenizer where a folder holds none
            f"{told} has no fast tokenizer with a vocabulary; put its tokenizer.json beside the weights"
        )
    _mark_the_end(words, tokenizer.eos_token, told)
    return text_encoder_over(config, model, words, int(tokenizer.pad_token_id or 0))


def text_encoder_over(config: TextEncoderConfig, model: Any, words: Tokenizer, pad_id: int) -> TransformerTextEncoder:
    """The encoder of a `transformers` model and its tokenizer, after a look at whether they go together; raises like `open_transformer`."""
    own = getattr(model.config, "text_config", model.config)
    if words.get_vocab_size() > own.vocab_size:
        raise ArtifactError(
            f"the tokenizer of text model {config.model!r} has {words.get_vocab_size()} tokens, the model {own.vocab_size}; "
            "the two do not belong together"
        )
    limit = int(getattr(own, "max_position_embeddings", config.max_tokens))
    if config.max_tokens > limit:
        raise ArtifactError(f"text model {config.model!r} reads {limit} tokens; max_tokens is {config.max_tokens}")
    reader = TextTokenizer(words, max_tokens=config.max_tokens, reading=config.reading, prefix=config.prefix)
    if is_clip(model):
        return TransformerTextEncoder(config, ClipTextTower(model, pad_id), reader, pad_id)
    model.config.use_cache = False  # of causal models: keys and values for a next token that nobody asks for
    if config.pooling == "cls" and _first_sees_itself_alone(model):
        raise ConfigError(
            f"pooling is 'cls', but the first token of {config.model!r} sees itself alone (a causal model): every text would have the "
            "vector of its first token; set pooling to last or mean"
        )
    return TransformerTextEncoder(config, TextTower(model, config.pooling), reader, pad_id)


def _mark_the_end(words: Tokenizer, end: str | None, told: str) -> None:
    """Let a tokenizer that adds no marks, such as GPT-2's, close each text with its end mark: an empty text has a token then."""
    if words.encode("").ids:
        return
    if end is None:
        raise ArtifactError(
            f"the tokenizer of {told} makes no token of an empty text and has no eos_token to close it with; "
            "name one in its tokenizer_config.json"
        )
    closing = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, words.token_to_id(end))])
    words.post_processor = closing


def _first_sees_itself_alone(model: Any) -> bool:
    """Whether the first token's state is the same whatever follows."""
    with torch.inference_mode():
        states_2TD = model.eval()(input_ids=torch.tensor([[0, 0, 0], [0, 1, 1]])).last_hidden_state
    return bool(torch.equal(states_2TD[0, 0], states_2TD[1, 0]))


def _space_of(config: TextEncoderConfig, tower: TextTower | ClipTextTower, tokenizer: TextTokenizer) -> SpaceId:
    own = getattr(tower.transformer.config, "text_config", tower.transformer.config)
    weights = digest_arrays((name, tensor.numpy()) for name, tensor in tower.transformer.state_dict().items())
    architecture = {name: getattr(own, name, None) for name in _READ_BY_ATTENTION}
    architecture |= {name: getattr(own, name) for name in _READ_BY_CAUSAL_MODELS if hasattr(own, name)}
    settings = {
        "pooling": OWN_POOLING if isinstance(tower, ClipTextTower) else config.pooling,
        "reading": config.reading,
        "prefix": config.prefix,
        "tokenizer": sha256_bytes(tokenizer.content().encode()),  # holds max_tokens
        "architecture": architecture,
    }
    return name_space("text", weights, settings)
