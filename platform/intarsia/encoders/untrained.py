"""Small untrained towers of every kind: `untrained:<kind>:<seed>`. They need no weight files and tokenize by bytes.

For one seed, a kind of the CLIP family gives the two sides of one model.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn

from intarsia.config import nearest_of
from intarsia.encoders.clip import clip_image_encoder
from intarsia.encoders.config import UNTRAINED, ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.recurrent import RecurrentShape, RecurrentTextEncoder, build_recurrent
from intarsia.encoders.torch_encoders import TorchImageEncoder, TorchTextEncoder
from intarsia.encoders.transformer import text_encoder_of
from intarsia.errors import ConfigError

_PAD, _START, _END, _MASK = "[PAD]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (_PAD, "[UNK]", _START, _END, _MASK)
_NUM_BYTES = 256
# of the initial weights; at the usual 0.02, two layers of width 64 give nearly equal vectors for all texts
_WEIGHT_STD = 0.1
_IMAGE_PX, _PATCH_PX = 64, 16
_WIDTHS = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
_TEXT = _WIDTHS | {
    "vocab_size": len(SPECIAL_TOKENS) + _NUM_BYTES,
    "max_position_embeddings": 256,
    "initializer_range": _WEIGHT_STD,
    "bos_token_id": SPECIAL_TOKENS.index(_START),
    "eos_token_id": SPECIAL_TOKENS.index(_END),
    "pad_token_id": SPECIAL_TOKENS.index(_PAD),
}
_VISION = _WIDTHS | {"image_size": _IMAGE_PX, "patch_size": _PATCH_PX, "initializer_range": _WEIGHT_STD}
_CNN_WIDTHS = (16, 32, 64, 96)


def open_untrained_text(config: TextEncoderConfig) -> TorchTextEncoder:
    """Open a text encoder with random weights; equal seeds give equal weights.

    Raises:
        ConfigError: an unknown kind, a seed that is not a whole number, or a pooling that does not suit the kind.
        ArtifactError: max_tokens is above the limit of the model.
    """
    kind, seed = _kind_and_seed(config.model, (*UNTRAINED_TEXT_MODELS, *_RECURRENT))
    if kind in _RECURRENT:
        shape = RecurrentShape(
            kind="bilstm" if kind == "bilstm" else "dnn", num_tokens=len(SPECIAL_TOKENS) + _NUM_BYTES
        )
        return RecurrentTextEncoder(config, shape, _seeded(seed, lambda: build_recurrent(shape)), byte_tokenizer())
    model = _seeded(seed, UNTRAINED_TEXT_MODELS[kind])
    return text_encoder_of(config, model, byte_tokenizer(), SPECIAL_TOKENS.index(_PAD))


def untrained_stages(model: str) -> list[nn.Module]:
    """The stages of `untrained:cnn:<seed>`: four convolutions of stride 2, each with a batch norm."""
    _, seed = _kind_and_seed(model, ("cnn",))
    stages: list[nn.Module] = _seeded(seed, _cnn_stages)
    return stages


def open_untrained_clip(config: ImageEncoderConfig) -> TorchImageEncoder:
    """Open the image side of an untrained model of the CLIP family. Raises ConfigError like `open_untrained_text`."""
    kind, seed = _kind_and_seed(config.model, (*_CLIP_MODELS, "cnn"))
    return clip_image_encoder(config, _seeded(seed, _CLIP_MODELS[kind]), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def byte_tokenizer() -> Tokenizer:
    """One token per byte of UTF-8, between a start and an end token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*SPECIAL_TOKENS, *letters))}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token=SPECIAL_TOKENS[1]))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    special_tokens = [(_START, SPECIAL_TOKENS.index(_START)), (_END, SPECIAL_TOKENS.index(_END))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A {_END}", special_tokens=special_tokens
    )
    return tokenizer


def _kind_and_seed(model: str, kinds: tuple[str, ...]) -> tuple[str, int]:
    kind, _, seed = model.removeprefix(UNTRAINED).partition(":")
    if kind not in kinds:
        raise ConfigError(f"model is {model!r}; {UNTRAINED}{kind} does not exist here{nearest_of(kind, kinds)}")
    if not seed.isdecimal():
        raise ConfigError(f"model is {model!r}; allowed: {UNTRAINED}{kind}:<seed> with a whole number")
    return kind, int(seed)


def _seeded(seed: int, build: Callable[[], Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _bert() -> Any:
    return transformers.BertModel(transformers.BertConfig(**_TEXT), add_pooling_layer=False)


def _gpt2() -> Any:
    return transformers.GPT2Model(transformers.GPT2Config(**{**_TEXT, "n_inner": _TEXT["intermediate_size"]}))


def _clip() -> Any:
    config = transformers.CLIPConfig(text_config=dict(_TEXT), vision_config=dict(_VISION), projection_dim=48)
    return transformers.CLIPModel(config)


def _siglip() -> Any:
    return transformers.SiglipModel(transformers.SiglipConfig(text_config=dict(_TEXT), vision_config=dict(_VISION)))


def _chinese_clip() -> Any:
    config = transformers.ChineseCLIPConfig(text_config=dict(_TEXT), vision_config=dict(_VISION), projection_dim=48)
    return transformers.ChineseCLIPModel(config)


def _cnn_stages() -> list[nn.Module]:
    widths = (3, *_CNN_WIDTHS)
    return [
        nn.Sequential(nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU())
        for narrow, wide in itertools.pairwise(widths)
    ]


_RECURRENT = ("bilstm", "dnn")
_CLIP_MODELS: Mapping[str, Callable[[], Any]] = {"clip": _clip, "siglip": _siglip, "chinese_clip": _chinese_clip}
UNTRAINED_TEXT_MODELS: Mapping[str, Callable[[], Any]] = {"bert": _bert, "gpt2": _gpt2, **_CLIP_MODELS}
"""Kinds of text towers with a `transformers` model, by name."""
