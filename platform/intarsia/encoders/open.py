"""Open an encoder from settings or a folder: the table of all kinds. torch is imported only by the kinds that need it.

Catalog vectors come from `open_text_encoder` and `open_image_encoder`, query vectors from `open_query_encoder`; both
ways of running one model have the same space id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from intarsia.encoders.config import (
    EFFICIENTNET_LITE0,
    LAKE_MODEL,
    MINILM,
    OFFLINE,
    TORCHVISION,
    TOWER_FILE,
    UNTRAINED,
    USE_MULTILINGUAL,
    ImageEncoderConfig,
    TextEncoderConfig,
)
from intarsia.encoders.offline_weights import PACKAGES
from intarsia.encoders.protocol import Encoder
from intarsia.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from intarsia.encoders.torch_encoders import TorchImageEncoder

Precision = Literal["int8", "fp32"]
ENCODER_CARD = "encoder.json"
"""File in an exported folder with its kind, space id, settings and files."""


def open_text_encoder(config: TextEncoderConfig) -> Encoder[str]:
    """Open the text encoder that embeds a catalog.

    Raises:
        ConfigError: the model does not exist, or the settings do not suit it.
        ArtifactError: its weights are missing.

    Example:
        encoder = open_text_encoder(TextEncoderConfig(model="offline:use-multilingual-v3"))
        vectors_ND = encoder.encode(["red sneakers", "红色运动鞋"])
    """
    if config.model == USE_MULTILINGUAL:
        from intarsia.encoders.use_multilingual import open_use_multilingual

        return open_use_multilingual(config)
    if config.model.startswith(LAKE_MODEL):
        raise ConfigError(
            f"text model is {config.model!r}, which only jobs with a lake can open; set `model` to the folder of that "
            "lake entry"
        )
    if config.model.startswith(OFFLINE) and config.model not in PACKAGES:
        raise ConfigError(f"text model is {config.model!r}; the {OFFLINE} models are {', '.join(PACKAGES)}")
    if config.model == EFFICIENTNET_LITE0:
        raise ConfigError(f"{EFFICIENTNET_LITE0} reads images; for `text` set {MINILM} or {USE_MULTILINGUAL}")
    if config.model.startswith(UNTRAINED):
        from intarsia.encoders.untrained import open_untrained_text

        return open_untrained_text(config)
    if (Path(config.model) / TOWER_FILE).is_file():
        from intarsia.encoders.recurrent import open_recurrent

        return open_recurrent(config)
    from intarsia.encoders.transformer import open_transformer

    return open_transformer(config)


def open_image_encoder(config: ImageEncoderConfig) -> TorchImageEncoder:
    """Open the image encoder that embeds a catalog. Raises like `open_text_encoder`."""
    if config.model.startswith((OFFLINE, TORCHVISION, f"{UNTRAINED}cnn:")):
        from intarsia.encoders.cnn import open_cnn

        return open_cnn(config)
    if config.model.startswith(UNTRAINED):
        from intarsia.encoders.untrained import open_untrained_clip

        return open_untrained_clip(config)
    if (Path(config.model) / TOWER_FILE).is_file():
        from intarsia.encoders.image_folder import open_image_folder

        return open_image_folder(config)
    from intarsia.encoders.clip import open_clip_image

    return open_clip_image(config)


def move_to_gpu(encoder: Encoder[Any]) -> None:
    """Move an encoder that embeds a catalog to the GPU of this process.

    Raises:
        ConfigError: it runs on CPUs only.
        ArtifactError: torch finds no GPU.
    """
    if not hasattr(encoder, "to"):
        raise ConfigError(f"{type(encoder).__name__} runs on CPUs only; set gpus_per_worker to 0")
    import torch

    if not torch.cuda.is_available():
        raise ArtifactError(
            "Ray reports a GPU, but torch finds none; install the NVIDIA driver and a torch with CUDA, or set "
            "gpus_per_worker to 0"
        )
    encoder.to("cuda")


def open_query_encoder(folder: Path, precision: Precision = "int8") -> Encoder[str] | Encoder[bytes]:
    """Open an exported encoder for queries: one thread, no torch, one item at a time, so a query has the same bits
    everywhere.

    Args:
        folder: a folder of `export_text_encoder` or `export_image_encoder`.
        precision: int8 or fp32; an encoder whose int8 model was not accurate enough has fp32 for both (see its
            encoder.json).

    Raises:
        ArtifactError: no encoder.json, an unknown kind, or a missing file.
    """
    card = read_encoder_card(folder)
    kind = str(card.get("kind"))
    if kind not in QUERY_ENCODER_KINDS:
        raise ArtifactError(
            f"{folder / ENCODER_CARD} has kind {kind!r}; allowed: {', '.join(QUERY_ENCODER_KINDS)}; export the encoder "
            "again"
        )
    return QUERY_ENCODER_KINDS[kind](folder, card, precision)


def read_encoder_card(folder: Path) -> Mapping[str, object]:
    """Read the `encoder.json` of an exported folder."""
    path = folder / ENCODER_CARD
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist; run `intarsia job export_query_encoders`")
    card: Mapping[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return card


def _open_onnx_text(folder: Path, card: Mapping[str, object], precision: Precision) -> Encoder[str]:
    from intarsia.encoders.onnx_query import OnnxTextEncoder

    return OnnxTextEncoder(folder, card, precision)


def _open_onnx_image(folder: Path, card: Mapping[str, object], precision: Precision) -> Encoder[bytes]:
    from intarsia.encoders.onnx_query import OnnxImageEncoder

    return OnnxImageEncoder(folder, card, precision)


def _open_use_multilingual(folder: Path, card: Mapping[str, object], precision: Precision) -> Encoder[str]:
    from intarsia.encoders.use_multilingual import open_exported

    return open_exported(folder, card)


QUERY_ENCODER_KINDS: Mapping[str, Callable[[Path, Mapping[str, object], Precision], Encoder[str] | Encoder[bytes]]] = {
    "onnx_text": _open_onnx_text,
    "onnx_image": _open_onnx_image,
    "use_multilingual": _open_use_multilingual,
}
