"""From settings or a folder to an encoder: the one table of kinds. torch is loaded only by the kinds that run on it.

Catalog vectors come from `open_text_encoder` and `open_image_encoder`, query vectors from `open_query_encoder`; both ways of running one
model share a space id.
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
"""What an exported folder says of itself."""


def open_text_encoder(config: TextEncoderConfig) -> Encoder[str]:
    """The text encoder that embeds a catalog; raises ConfigError or ArtifactError with what to set or install."""
    if config.model == USE_MULTILINGUAL:
        from intarsia.encoders.use_multilingual import open_use_multilingual

        return open_use_multilingual(config)
    if config.model.startswith(LAKE_MODEL):
        raise ConfigError(
            f"text model is {config.model!r}, which only a job that has the lake can find; elsewhere name the folder of its entry"
        )
    if config.model.startswith(OFFLINE) and config.model not in PACKAGES:
        raise ConfigError(f"text model is {config.model!r}; the {OFFLINE} models are {', '.join(PACKAGES)}")
    if config.model == EFFICIENTNET_LITE0:
        raise ConfigError(f"{EFFICIENTNET_LITE0} reads pictures; for `text` set {MINILM} or {USE_MULTILINGUAL}")
    if config.model.startswith(UNTRAINED):
        from intarsia.encoders.untrained import open_untrained_text

        return open_untrained_text(config)
    if (Path(config.model) / TOWER_FILE).is_file():
        from intarsia.encoders.recurrent import open_recurrent

        return open_recurrent(config)
    from intarsia.encoders.transformer import open_transformer

    return open_transformer(config)


def open_image_encoder(config: ImageEncoderConfig) -> TorchImageEncoder:
    """The image encoder that embeds a catalog; raises ConfigError or ArtifactError with what to set or install."""
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
    """Let an encoder that embeds a catalog compute on the GPU this process was given.

    Raises:
        ConfigError: it runs on CPUs alone.
        ArtifactError: torch sees no GPU here.
    """
    if not hasattr(encoder, "to"):
        raise ConfigError(f"{type(encoder).__name__} runs on CPUs alone; set gpus_per_worker to 0")
    import torch

    if not torch.cuda.is_available():
        raise ArtifactError(
            "torch sees no GPU where Ray says there is one; install the NVIDIA driver and a torch with CUDA, or set "
            "gpus_per_worker to 0"
        )
    encoder.to("cuda")


def open_query_encoder(folder: Path, precision: Precision = "int8") -> Encoder[str] | Encoder[bytes]:
    """An exported encoder, for queries: one thread, no torch, one item at a time (so a query's vector has the same bits everywhere).

    Args:
        folder: what `export_text_encoder` or `export_image_encoder` wrote.
        precision: which of its models; an encoder whose int8 form was not good enough has fp32 in both places (its card says so).

    Raises:
        ArtifactError: no card, an unknown kind, or a missing file.
    """
    card = read_card(folder)
    kind = str(card.get("kind"))
    if kind not in QUERY_KINDS:
        raise ArtifactError(
            f"{folder / ENCODER_CARD} says kind {kind!r}; this code opens {', '.join(QUERY_KINDS)}: export again"
        )
    return QUERY_KINDS[kind](folder, card, precision)


def read_card(folder: Path) -> Mapping[str, object]:
    """An exported folder's `encoder.json`."""
    path = folder / ENCODER_CARD
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist; run python -m pipelines.export_query_encoders")
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


QUERY_KINDS: Mapping[str, Callable[[Path, Mapping[str, object], Precision], Encoder[str] | Encoder[bytes]]] = {
    "onnx_text": _open_onnx_text,
    "onnx_image": _open_onnx_image,
    "use_multilingual": _open_use_multilingual,
}
