"""The text and image sides of CLIP, SigLIP, Chinese-CLIP and similar models, which map a text and its image to near
vectors.

The vectors are the model's own: its pooled output, projected into the space of both sides, so a text can be compared
with an image.

Letters: N items, T tokens, P tokens that the model reads, S side, C channels, H height, W width, D width of the vector.

Source: Radford et al., ICML 2021, arXiv:2103.00020 (CLIP); Zhai et al., ICCV 2023, arXiv:2303.15343 (SigLIP); Yang et
al., arXiv:2211.01335 (Chinese-CLIP).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from intarsia.encoders.config import ImageEncoderConfig
from intarsia.encoders.pooling import unit_rows
from intarsia.encoders.pretrained import check_no_missing, load_pretrained, quiet_transformers
from intarsia.encoders.protocol import digest_arrays, name_space
from intarsia.encoders.torch_encoders import TorchImageEncoder
from intarsia.errors import ArtifactError
from intarsia.lake import write_json

OWN_POOLING = "own"
_BYTE = 255.0
_VISION_SETTINGS = ("model_type", "num_attention_heads", "hidden_act", "layer_norm_eps", "patch_size")
_TEXT_SIDE, _IMAGE_SIDE = ("text_model", "text_projection"), ("vision_model", "visual_projection")
_LOSS_ONLY = ("logit_scale", "logit_bias")
NOT_OF_THE_TEXT_SIDE = (*_IMAGE_SIDE, *_LOSS_ONLY)
"""Prefixes of the tensor names that the text side does not need; a folder may contain one side only."""


def is_clip(model: Any) -> bool:
    """Whether a `transformers` model has a text side and an image side in one space."""
    return hasattr(model, "get_text_features") and hasattr(model, "get_image_features")


class ClipTextTower(nn.Module):
    """The text side and normalisation: token ids and mask in, unit vectors out."""

    def __init__(self, model: Any, pad_id: int) -> None:
        super().__init__()
        _drop_side(model, _IMAGE_SIDE)
        self.transformer = model
        self._pads_to = int(model.config.text_config.max_position_embeddings) if _reads_padding(model) else 0
        self._pad_id = pad_id

    def forward(self, ids_NT: torch.Tensor, mask_NT: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, D] of int64 ids and mask."""
        if self._pads_to:
            ids_NT = torch.where(mask_NT == 1, ids_NT, self._pad_id)
            padding_NP = torch.full((1, self._pads_to), self._pad_id).to(ids_NT).expand(ids_NT.shape[0], -1)
            ids_NP = torch.cat([ids_NT, padding_NP[:, ids_NT.shape[1] :]], dim=1)
            return unit_rows(self.transformer.get_text_features(input_ids=ids_NP).pooler_output)
        return unit_rows(self.transformer.get_text_features(input_ids=ids_NT, attention_mask=mask_NT).pooler_output)


class ClipImageTower(nn.Module):
    """Pixel scaling, the image side and normalisation: uint8 pixels in, unit vectors out."""

    def __init__(self, model: Any, mean: Sequence[float], scale: Sequence[float]) -> None:
        super().__init__()
        _drop_side(model, _TEXT_SIDE)
        self.transformer = model
        self._mean: torch.Tensor
        self._scale: torch.Tensor
        self.register_buffer("_mean", _BYTE * torch.tensor(mean).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("_scale", _BYTE * torch.tensor(scale).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, pixels_NSS3: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, D] of uint8 pixels."""
        scaled_NCHW = (pixels_NSS3.permute(0, 3, 1, 2).float() - self._mean) / self._scale
        return unit_rows(self.transformer.get_image_features(pixel_values=scaled_NCHW).pooler_output)

    def save(self, folder: Path) -> None:
        """Save the image side and its pixel scaling as a folder that `open_clip_image` reads."""
        with quiet_transformers():
            self.transformer.save_pretrained(folder)
        scaling = {"image_mean": self._mean, "image_std": self._scale}
        values = {name: [float(value) / _BYTE for value in tensor.flatten()] for name, tensor in scaling.items()}
        write_json(folder / "preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor"} | values)


def open_clip_image(config: ImageEncoderConfig) -> TorchImageEncoder:
    """Open the image side of a model of the CLIP family, from hub name or folder.

    Images are padded to a white square of the model's side. These models were trained on crops, but a crop would cut
    off parts of a product.

    Raises:
        ArtifactError: weights or preprocessor_config.json are missing or incomplete, or the model is of another kind.
    """
    model_name = f"image model {config.model!r}"
    model, processor, missing = load_pretrained(
        config.model,
        transformers.AutoImageProcessor,
        model_name=model_name,
        fix="a folder with config.json, weights and preprocessor_config.json, to a reachable hub name, or to "
        "offline:efficientnet-lite0",
    )
    if not is_clip(model):
        raise ArtifactError(
            f"{model_name} is a {model.config.model_type}; allowed: clip, siglip, chinese_clip and similar models"
        )
    check_no_missing([name for name in missing if name.startswith(_IMAGE_SIDE)], model_name)
    return clip_image_encoder(config, model, processor.image_mean, processor.image_std)


def clip_image_encoder(
    config: ImageEncoderConfig, model: Any, mean: Sequence[float], scale: Sequence[float]
) -> TorchImageEncoder:
    """Build the encoder of the image side of a model; `mean` and `scale` are per channel, for pixels 0..1."""
    vision_config = model.config.vision_config
    image_px = int(vision_config.image_size)
    tower = ClipImageTower(model, mean, scale)
    weights = digest_arrays((name, tensor.numpy()) for name, tensor in tower.transformer.state_dict().items())
    settings = {
        "image_px": image_px,
        "mean": [round(float(value), 6) for value in mean],
        "scale": [round(float(value), 6) for value in scale],
        "architecture": {name: getattr(vision_config, name, None) for name in _VISION_SETTINGS},
    }
    return TorchImageEncoder(config, tower, image_px, name_space("image", weights, settings))


def _drop_side(model: Any, names: Sequence[str]) -> None:
    for name in (*names, *_LOSS_ONLY):
        if hasattr(model, name):
            delattr(model, name)


def _reads_padding(model: Any) -> bool:
    """SigLIP was trained on texts padded to the full length, without a mask, and pools the last position."""
    return str(model.config.model_type).startswith("siglip")
