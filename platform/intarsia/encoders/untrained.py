"""Small towers of every kind, untrained: `untrained:<kind>:<seed>`. They need no weights, train in seconds, and read texts by their bytes.

A kind of the CLIP family gives, for one seed, the two sides of one model.
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
from intarsia.encoders.clip import clip_image_over
from intarsia.encoders.config import UNTRAINED, ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.recurrent import RecurrentShape, RecurrentTextEncoder, build_recurrent
from intarsia.encoders.torch_encoders import TorchImageEncoder, TorchTextEncoder
from intarsia.encoders.transformer import text_encoder_over
from intarsia.errors import ConfigError

_PAD, _START, _END, _MASK = "[PAD]", "[CLS]", "[SEP]", "[MASK]"
MARKS = (_PAD, "[UNK]", _START, _END, _MASK)
_NUM_BYTES = 256
_SPREAD = 0.1  # standard deviation of first weights; at the usual 0.02 two layers of width 64 hardly tell texts apart
_IMAGE_PX, _PATCH_PX = 64, 16
_WIDTHS = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
_TEXT = _WIDTHS | {
    "vocab_size": len(MARKS) + _NUM_BYTES,
    "max_position_embeddings": 256,
    "initializer_range": _SPREAD,
    "bos_token_id": MARKS.index(_START),
    "eos_token_id": MARKS.index(_END),
    "pad_token_id": MARKS.index(_PAD),
}
_VISION = _WIDTHS | {"image_size": _IMAGE_PX, "patch_size": _PATCH_PX, "initializer_range": _SPREAD}
_CNN_WIDTHS = (16, 32, 64, 96)


def open_untrained_text(config: TextEncoderConfig) -> TorchTextEncoder:
    """A fresh text encoder; the same seed gives the same weights.

    Raises:
        ConfigError: a kind that does not exist, no whole number for a seed, or a pooling that does not go with the kind.
        ArtifactError: more tokens than it reads.
    """
    kind, seed = _kind_and_seed(config.model, (*TEXT_MODELS, *_RECURRENT))
    if kind in _RECURRENT:
        shape = RecurrentShape(kind="bilstm" if kind == "bilstm" else "dnn", num_tokens=len(MARKS) + _NUM_BYTES)
        return RecurrentTextEncoder(config, shape, _seeded(seed, lambda: build_recurrent(shape)), byte_tokenizer())
    model = _seeded(seed, TEXT_MODELS[kind])
    return text_encoder_over(config, model, byte_tokenizer(), MARKS.index(_PAD))


def untrained_stages(model: str) -> list[nn.Module]:
    """The stages of `untrained:cnn:<seed>`: four convolutions of stride 2, each with its norm."""
    _, seed = _kind_and_seed(model, ("cnn",))
    stages: list[nn.Module] = _seeded(seed, _cnn_stages)
    return stages


def open_untrained_clip(config: ImageEncoderConfig) -> TorchImageEncoder:
    """The picture side of a fresh model of the CLIP family; raises ConfigError like `open_untrained_text`."""
    kind, seed = _kind_and_seed(config.model, (*_CLIP_MODELS, "cnn"))
    return clip_image_over(config, _seeded(seed, _CLIP_MODELS[kind]), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def byte_tokenizer() -> Tokenizer:
    """One token per byte of UTF-8, between a start and an end mark."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*MARKS, *letters))}
    words = Tokenizer(models.BPE(vocabulary, [], unk_token=MARKS[1]))
    words.add_special_tokens(list(MARKS))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words.decoder = decoders.ByteLevel()
    marks = [(_START, MARKS.index(_START)), (_END, MARKS.index(_END))]
    words.post_processor = processors.TemplateProcessing(single=f"{_START} $A {_END}", special_tokens=marks)
    return words


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
    own = transformers.CLIPConfig(text_config=dict(_TEXT), vision_config=dict(_VISION), projection_dim=48)
    return transformers.CLIPModel(own)


def _siglip() -> Any:
    return transformers.SiglipModel(transformers.SiglipConfig(text_config=dict(_TEXT), vision_config=dict(_VISION)))


def _chinese_clip() -> Any:
    own = transformers.ChineseCLIPConfig(text_config=dict(_TEXT), vision_config=dict(_VISION), projection_dim=48)
    return transformers.ChineseCLIPModel(own)


def _cnn_stages() -> list[nn.Module]:
    widths = (3, *_CNN_WIDTHS)
    return [
        nn.Sequential(nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU())
        for narrow, wide in itertools.pairwise(widths)
    ]


_RECURRENT = ("bilstm", "dnn")
_CLIP_MODELS: Mapping[str, Callable[[], Any]] = {"clip": _clip, "siglip": _siglip, "chinese_clip": _chinese_clip}
TEXT_MODELS: Mapping[str, Callable[[], Any]] = {"bert": _bert, "gpt2": _gpt2, **_CLIP_MODELS}
"""Kinds of text towers over `transformers`, by name."""
