"""The tower of an image encoder as training needs it, whatever its kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from intarsia.encoders.clip import ClipImageTower
from intarsia.encoders.cnn import ImageTower, build_image_tower
from intarsia.encoders.config import OFFLINE, SCRATCH, TORCHVISION, ImageEncoderConfig
from intarsia.encoders.image_folder import ImageTowerShape, TrainableImage, read_image_folder
from intarsia.encoders.open import open_image_encoder


def open_trainable_image(config: ImageEncoderConfig) -> TrainableImage:
    """The tower of an image encoder as training needs it, its norms not yet folded away; raises like `open_image_encoder`.

    A folder of an earlier training is gone on with: its head, if it has one, is left behind.
    """
    encoder = open_image_encoder(config)  # knows what is allowed, and how wide it is
    if isinstance(encoder.tower, ClipImageTower):
        return TrainableImage(tower=encoder.tower, image_px=encoder.image_px, dim=encoder.dim, shape=None)
    if config.model.startswith((OFFLINE, TORCHVISION, SCRATCH)):
        tower, shape = build_image_tower(config), ImageTowerShape.of(config)
        return TrainableImage(tower=tower, image_px=config.image_px, dim=encoder.dim, shape=shape)
    folder = Path(config.model)
    shape, trained = read_image_folder(folder)
    assert isinstance(trained.tower, ImageTower)
    dim = trained.head.in_features if trained.head is not None else encoder.dim
    return TrainableImage(tower=trained.tower, image_px=shape.image_px, dim=dim, shape=replace(shape, projection=0))
