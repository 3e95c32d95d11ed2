"""Small encoders of every kind, opened once for all tests of this directory."""

from __future__ import annotations

import functools
import io
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from intarsia.encoders.config import EFFICIENTNET_LITE0, USE_MULTILINGUAL, ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.export import export_image_encoder, export_text_encoder
from intarsia.encoders.open import open_image_encoder, open_query_encoder, open_text_encoder
from intarsia.encoders.protocol import Encoder

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = list("红色运动鞋蓝牙耳机连衣裙夏季新款男女的") + list("abcdefghijklmnopqrstuvwxyz0123456789")
PIECES = [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789"]

UNTRAINED_TEXTS = ("bert", "gpt2", "gpt2:last", "clip", "siglip", "chinese_clip", "bilstm", "dnn")
UNTRAINED_IMAGES = ("cnn", "clip", "siglip", "chinese_clip")
TEXT_KINDS = (
    "random_bert_mean",
    "random_bert_cls",
    "minilm",
    "use_multilingual",
    "onnx_fp32_random_bert",
    "onnx_int8_random_bert",
    "onnx_int8_minilm",
    "exported_use_multilingual",
    *(f"untrained_{kind}" for kind in UNTRAINED_TEXTS),
    *(f"onnx_fp32_untrained_{kind}" for kind in UNTRAINED_TEXTS),
    "onnx_int8_untrained_gpt2",
    "onnx_int8_untrained_bilstm",
)
IMAGE_KINDS = (
    "random_mobilenet",
    "random_resnet",
    "lite0",
    "onnx_fp32_lite0",
    *(f"untrained_{kind}" for kind in UNTRAINED_IMAGES),
    *(f"onnx_{precision}_untrained_{kind}" for kind in UNTRAINED_IMAGES for precision in ("fp32", "int8")),
)


def write_random_bert(
    folder: Path, *, seed: int = 3, num_rows: int | None = None, with_fast_tokenizer: bool = True
) -> Path:
    """Write a BERT of two thin layers with Chinese characters and English letters."""
    vocabulary = {token: number for number, token in enumerate(SPECIAL_TOKENS + CHARACTERS + PIECES)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.BertModel(
            transformers.BertConfig(
                vocab_size=num_rows or len(vocabulary),
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
                max_position_embeddings=64,
                initializer_range=0.5,  # wide enough that texts differ
            )
        )
    model.save_pretrained(folder)
    if with_fast_tokenizer:
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
        ).save_pretrained(folder)
    return folder


def make_image(rng: np.random.Generator, height: int, width: int) -> bytes:
    """A PNG of smooth random colours."""
    small = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "png")
    return buffer.getvalue()


@functools.cache
def text_config(kind: str) -> TextEncoderConfig:
    """Settings of the torch (or NumPy) encoder of a kind."""
    if "untrained_" in kind:
        name, _, pooling = kind.partition("untrained_")[2].partition(":")
        return TextEncoderConfig(model=f"untrained:{name}:7", pooling=pooling or "mean", max_tokens=48, batch_size=4)
    if "random_bert" in kind:
        pooling = "cls" if kind.endswith("cls") else "mean"
        return TextEncoderConfig(model=str(_random_bert()), max_tokens=32, pooling=pooling, batch_size=4)
    return TextEncoderConfig(model=USE_MULTILINGUAL) if "use_multilingual" in kind else TextEncoderConfig()


@functools.cache
def text_encoder(kind: str) -> Encoder[str]:
    """The encoder of a text kind."""
    if not kind.startswith(("onnx", "exported")):
        return open_text_encoder(text_config(kind))
    if "untrained_" in kind:
        return open_query_encoder(exported_text(f"untrained_{kind.partition('untrained_')[2]}"), _precision(kind))
    source = {"minilm": "minilm", "multilingual": "use_multilingual", "bert": "random_bert_mean"}[kind.split("_")[-1]]
    return open_query_encoder(exported_text(source), _precision(kind))


@functools.cache
def exported_text(source: str) -> Path:
    """The folder of an exported text encoder."""
    folder = _temp_dir() / f"exported_{source}"
    export_text_encoder(text_encoder(source), folder, probes=["red shoes"], min_cosine=0.0)
    return folder


@functools.cache
def image_encoder(kind: str) -> Encoder[bytes]:
    """The encoder of an image kind."""
    if kind.startswith("onnx"):
        return open_query_encoder(exported_image(kind.removeprefix(f"onnx_{_precision(kind)}_")), _precision(kind))
    if "untrained_" in kind:
        return open_image_encoder(
            ImageEncoderConfig(model=f"untrained:{kind.removeprefix('untrained_')}:7", image_px=64)
        )
    models = {"random_mobilenet": "torchvision:mobilenet_v3_small", "random_resnet": "torchvision:resnet18"}
    return open_image_encoder(
        ImageEncoderConfig(model=models.get(kind, EFFICIENTNET_LITE0), weights="random:7", image_px=64, batch_size=4)
    )


@functools.cache
def exported_image(source: str) -> Path:
    """The folder of an exported image encoder."""
    folder = _temp_dir() / f"exported_image_{source}"
    export_image_encoder(image_encoder(source), folder, probes=[], min_cosine=0.0)
    return folder


def _precision(kind: str) -> Literal["int8", "fp32"]:
    return "int8" if "int8" in kind else "fp32"


@functools.cache
def _random_bert() -> Path:
    return write_random_bert(_temp_dir() / "random_bert")


@functools.cache
def _holder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="encoders-", ignore_cleanup_errors=True)


def _temp_dir() -> Path:
    return Path(_holder().name)
