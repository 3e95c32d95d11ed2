"""Trained image towers as folders: `finetune_image` saves them, `open_image_encoder` opens them.

Letters: N images, S side, D width of the vector.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from intarsia.encoders.clip import ClipImageTower
from intarsia.encoders.cnn import ImageTower, build_image_tower, fold_norms
from intarsia.encoders.config import TOWER_FILE, ImageEncoderConfig
from intarsia.encoders.pooling import unit_rows
from intarsia.encoders.protocol import digest_arrays, name_space
from intarsia.encoders.torch_encoders import TorchImageEncoder
from intarsia.errors import ArtifactError
from intarsia.lake import write_json

_WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTowerShape:
    """Architecture of a convolutional tower; `projection` is the width of the head on top of it, 0 without a head."""

    model: str
    image_px: int
    early_weight: float
    colour_weight: float = 0.0
    projection: int = 0

    @classmethod
    def of(cls, config: ImageEncoderConfig) -> ImageTowerShape:
        """The architecture of an encoder config, without a head."""
        return cls(
            model=config.model,
            image_px=config.image_px,
            early_weight=config.early_weight,
            colour_weight=config.colour_weight,
        )

    @property
    def config(self) -> ImageEncoderConfig:
        """The encoder config of this architecture."""
        return ImageEncoderConfig(
            model=self.model,
            image_px=self.image_px,
            early_weight=self.early_weight,
            colour_weight=self.colour_weight,
        )


class TrainedImageTower(nn.Module):
    """A tower and an optional linear head: uint8 pixels in, unit vectors out."""

    def __init__(self, tower: nn.Module, head: nn.Linear | None) -> None:
        super().__init__()
        self.tower = tower
        self.head = head

    def forward(self, pixels_NSS3: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, D] of uint8 pixels."""
        vectors_ND: torch.Tensor = self.tower(pixels_NSS3)
        return vectors_ND if self.head is None else unit_rows(self.head(vectors_ND))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainableImage:
    """A tower for training; `shape` is its architecture, None for the CLIP family."""

    tower: ImageTower | ClipImageTower
    image_px: int
    dim: int
    shape: ImageTowerShape | None


def save_trained(trainable: TrainableImage, head: nn.Linear | None, folder: Path) -> None:
    """Save a trained tower, and its head if there is one, to a new folder that `open_image_encoder` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    tower = trainable.tower
    if isinstance(tower, ClipImageTower):
        assert head is None, "the CLIP family has a projection of its own"
        tower.save(folder)
        return
    assert trainable.shape is not None
    shape = asdict(trainable.shape) | {"projection": 0 if head is None else head.out_features}
    write_json(folder / TOWER_FILE, shape)
    state = TrainedImageTower(tower, head).state_dict()
    safetensors.torch.save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, folder / _WEIGHTS_FILE
    )


def open_image_folder(config: ImageEncoderConfig) -> TorchImageEncoder:
    """Open a folder of `save_trained`.

    Raises:
        ArtifactError: its weights are missing, or do not match its architecture.
    """
    shape, trained = read_image_folder(Path(config.model))
    weights = digest_arrays((name, tensor.numpy()) for name, tensor in trained.state_dict().items())
    fold_norms(trained.eval())
    return TorchImageEncoder(config, trained, shape.image_px, name_space("image", weights, asdict(shape)))


def read_image_folder(folder: Path) -> tuple[ImageTowerShape, TrainedImageTower]:
    """Read the tower of a folder, with its batch norms not folded.

    Raises:
        ArtifactError: its weights are missing, or do not match its architecture.
    """
    shape = ImageTowerShape(**json.loads((folder / TOWER_FILE).read_text(encoding="utf-8")))
    weights = folder / _WEIGHTS_FILE
    if not weights.is_file():
        raise ArtifactError(f"{weights} is missing; run `intarsia job finetune_image` again")
    state = safetensors.torch.load_file(weights)
    tower = build_image_tower(shape.config, with_weights=False)
    head = nn.Linear(state["head.weight"].shape[1], shape.projection) if shape.projection else None
    trained = TrainedImageTower(tower, head)
    try:
        trained.load_state_dict(state)
    except RuntimeError as error:
        raise ArtifactError(f"{weights} does not match {TOWER_FILE}: {error}") from None
    return shape, trained
