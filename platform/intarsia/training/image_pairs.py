"""Fine-tuning of an image tower: the vector of an image is moved towards the vector of its product's text, and away
from other texts.

The text tower is frozen; its vectors are given. Images are augmented (crop, mirror, light). Colour is in many queries,
so the hue is never changed.

Measured with EfficientNet-Lite0 at 64 px on 1,907 images of `fashion15k`, two epochs, text to image among 293 held-out
ones, R@1 / R@10 / MRR: 0.198 / 0.693 / 0.343 with only the head trained, 0.256 / 0.819 / 0.431 with the last four
stages trained too.

Letters: B pairs of a batch, b of them on one worker, N images, T width of texts, D width of the tower, S side.

Source: InfoNCE in both directions as in Radford et al., ICML 2021, arXiv:2103.00020, figure 3; the text side is locked
as the image side is in Zhai et al., "LiT", CVPR 2022, arXiv:2111.07991.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from intarsia.config import check_range, setting
from intarsia.encoders.clip import ClipImageTower
from intarsia.encoders.cnn import ImageTower, build_image_tower
from intarsia.encoders.config import OFFLINE, TORCHVISION, UNTRAINED, ImageEncoderConfig
from intarsia.encoders.image_folder import ImageTowerShape, TrainableImage, TrainedImageTower, read_image_folder
from intarsia.encoders.inputs import read_pixels
from intarsia.encoders.open import open_image_encoder
from intarsia.training.adapters import AdapterConfig, Adapters
from intarsia.training.losses import info_nce
from intarsia.training.task import Rows, Tensors

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luminance weights of red, green and blue (ITU-R BT.601)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelsConfig:
    """Augmentation of the images; crop 1, flip 0 and jitter 0 change nothing."""

    crop: float = setting("smallest share of the area that a crop keeps; 1: no crop", 0.7, advanced=True)
    flip: float = setting("share of the images that are mirrored; 0: none", 0.5, advanced=True)
    jitter: float = setting(
        "brightness, contrast and saturation are multiplied by a factor within 1 ± this; 0: unchanged",
        0.15,
        advanced=True,
    )

    def __post_init__(self) -> None:
        check_range(self, "crop", low=0.05, high=1.0)
        check_range(self, "flip", low=0.0, high=1.0)
        check_range(self, "jitter", low=0.0, high=0.9)


def augment_pixels(
    pixels_NSS3: NDArray[np.uint8], rows_N: Rows, step: int, config: PixelsConfig, *, seed: int
) -> NDArray[np.uint8]:
    """Change each image at random; the result depends on the seed, the step and the row only.

    Args:
        pixels_NSS3: squares from `read_pixels`; not changed.
        rows_N: row number of each image in the training data.
        step: step of the fit.
        config: how much to change.
        seed: seed of the fit.
    """
    changed_NSS3 = np.empty_like(pixels_NSS3)
    for n, row in enumerate(rows_N):
        changed_NSS3[n] = _augmented(pixels_NSS3[n], config, np.random.default_rng((seed, step, int(row))))
    return changed_NSS3


def _augmented(pixels_SS3: NDArray[np.uint8], config: PixelsConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    pixels_SS3 = _cropped(pixels_SS3, rng.uniform(config.crop, 1.0), rng.random(2))
    if rng.random() < config.flip:
        pixels_SS3 = pixels_SS3[:, ::-1]
    return _relit(pixels_SS3, 1.0 + config.jitter * rng.uniform(-1.0, 1.0, 3)) if config.jitter else pixels_SS3


def _cropped(pixels_SS3: NDArray[np.uint8], area: float, corner_2: NDArray[np.float64]) -> NDArray[np.uint8]:
    side = len(pixels_SS3)
    window = max(1, round(side * math.sqrt(area)))
    if window == side:
        return pixels_SS3
    top, left = (int(share * (side - window + 1)) for share in corner_2)
    crop = Image.fromarray(pixels_SS3[top : top + window, left : left + window])
    return np.asarray(crop.resize((side, side), Image.Resampling.BICUBIC))


def _relit(pixels_SS3: NDArray[np.uint8], factors_3: NDArray[np.float64]) -> NDArray[np.uint8]:
    brightness, contrast, saturation = factors_3.astype(np.float32)
    light_SS3 = pixels_SS3.astype(np.float32) * brightness
    grey_SS1 = (light_SS3 @ _GREY)[:, :, None]
    mean = grey_SS1.mean()
    light_SS3 = mean + contrast * (grey_SS1 + saturation * (light_SS3 - grey_SS1) - mean)
    relit_SS3: NDArray[np.uint8] = np.clip(np.rint(light_SS3), 0, 255).astype(np.uint8)
    return relit_SS3


def open_trainable_image(config: ImageEncoderConfig) -> TrainableImage:
    """Open the tower of an image encoder for training, with its batch norms not folded. Raises like
    `open_image_encoder`.

    A folder of an earlier training is trained further; a head that it has is dropped.
    """
    encoder = open_image_encoder(config)  # checks the config, and knows the width
    if isinstance(encoder.tower, ClipImageTower):
        return TrainableImage(tower=encoder.tower, image_px=encoder.image_px, dim=encoder.dim, shape=None)
    if config.model.startswith((OFFLINE, TORCHVISION, UNTRAINED)):
        tower, shape = build_image_tower(config), ImageTowerShape.of(config)
        return TrainableImage(tower=tower, image_px=config.image_px, dim=encoder.dim, shape=shape)
    folder = Path(config.model)
    shape, trained = read_image_folder(folder)
    assert isinstance(trained.tower, ImageTower)
    dim = trained.head.in_features if trained.head is not None else encoder.dim
    return TrainableImage(tower=trained.tower, image_px=shape.image_px, dim=dim, shape=replace(shape, projection=0))


_MEASURE_BATCH = 32
_NORMS = (nn.modules.batchnorm._BatchNorm,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePairsConfig:
    """Which weights of the tower are trained, the loss, and augmentation."""

    temperature: float = setting(
        "cosines are divided by it before any softmax; smaller is sharper", 0.05, advanced=True
    )
    trained_stages: int = setting(
        "convolutional networks: number of last stages that are trained; 0: only the head",
        4,
    )
    adapter: AdapterConfig = setting(
        "CLIP family: which weights are trained (all, upper or lora); convolutional networks allow only all, which "
        "means their last stages",
        factory=AdapterConfig,
    )
    pixels: PixelsConfig = setting("augmentation of the images", factory=PixelsConfig, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "trained_stages", low=0)
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; allowed: above 0")
        if self.adapter.kind == "adalora":
            raise ValueError("adapter.kind is adalora, which is for text towers; allowed here: all, upper, lora")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTrainingData:
    """Images with the vectors of their texts.

    Attributes:
        images: encoded image files, all readable.
        texts_NT: unit vectors of the products' texts.
        groups_N: equal for images with the same text; they are never negatives of each other.
        held_out_N: images that are not trained on; `measure` uses them.
    """

    images: Sequence[bytes]
    texts_NT: NDArray[np.float32]
    groups_N: NDArray[np.int64]
    held_out_N: NDArray[np.bool_]


class ImagePairsTask:
    """`TrainingTask` over images and the frozen vectors of their texts.

    The head maps the tower's vector into the space of the texts. `adapters` stay on the tower until they are merged.
    Batch norms keep their statistics: a batch of one shop's images is not a sample of the data they were computed on,
    and workers would differ.
    """

    def __init__(
        self, trainable: TrainableImage, training_data: ImageTrainingData, config: ImagePairsConfig, *, seed: int
    ) -> None:
        self._training_data, self._config, self._seed = training_data, config, seed
        self._image_px = trainable.image_px
        self._trained = np.flatnonzero(~training_data.held_out_N)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(trainable.dim, training_data.texts_NT.shape[1])
            self.adapters = Adapters(trainable.tower, config.adapter, 0)
        _freeze(trainable.tower, config.trained_stages)
        self._module = _PairedTower(TrainedImageTower(trainable.tower, self.head))
        self.num_examples = len(self._trained)

    @property
    def module(self) -> nn.Module:
        """Module with input uint8 pixels and output `images` [b, T], in the space of the texts."""
        return self._module

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        """Pixels of the images, augmented."""
        pixels_bSS3 = read_pixels(
            [self._training_data.images[index] for index in self._trained[rows_b].tolist()], self._image_px
        )
        changed_bSS3 = augment_pixels(pixels_bSS3, rows_b, step, self._config.pixels, seed=self._seed)
        return {"pixels_NSS3": torch.from_numpy(changed_bSS3)}

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        """Mean of InfoNCE from images to texts and from texts to images."""
        images_BT = outputs["images"]
        index = self._trained[rows_B]
        texts_BT = torch.from_numpy(self._training_data.texts_NT[index]).to(images_BT.device)
        groups_B = torch.from_numpy(self._training_data.groups_N[index]).to(images_BT.device)
        scores_BB = images_BT @ texts_BT.T / self._config.temperature
        positives_BB = torch.eye(len(index), device=images_BT.device)
        negatives_BB = groups_B[:, None] != groups_B[None, :]
        return 0.5 * (
            info_nce(scores_BB, positives_BB, negatives_BB) + info_nce(scores_BB.T, positives_BB, negatives_BB)
        )

    def measure(self) -> Mapping[str, float]:
        """Text-to-image `r@1`, `r@10` and `mrr` among the held-out images; images with an equal text do not count as
        better.
        """
        held_out = np.flatnonzero(self._training_data.held_out_N)
        if not len(held_out):
            return {}
        vectors_NT = self._vectors_of([self._training_data.images[index] for index in held_out.tolist()])
        scores_NN = self._training_data.texts_NT[held_out] @ vectors_NT.T
        negatives_NN = (
            self._training_data.groups_N[held_out][:, None] != self._training_data.groups_N[held_out][None, :]
        )
        ranks_N = 1 + ((scores_NN >= np.diag(scores_NN)[:, None]) & negatives_NN).sum(axis=1)
        return {
            "r@1": float((ranks_N == 1).mean()),
            "r@10": float((ranks_N <= 10).mean()),
            "mrr": float((1.0 / ranks_N).mean()),
        }

    def _vectors_of(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        device = self.head.weight.device
        parts = []
        for start in range(0, len(images), _MEASURE_BATCH):
            pixels_NSS3 = read_pixels(images[start : start + _MEASURE_BATCH], self._image_px)
            with torch.inference_mode():
                parts.append(self._module(torch.from_numpy(pixels_NSS3).to(device))["images"].cpu().numpy())
        return np.concatenate(parts)


class _PairedTower(nn.Module):
    """A tower as the loop calls it; its batch norms always stay in evaluation mode."""

    def __init__(self, tower: TrainedImageTower) -> None:
        super().__init__()
        self.tower = tower

    def train(self, mode: bool = True) -> _PairedTower:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _NORMS):
                module.eval()
        return self

    def forward(self, pixels_NSS3: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"images": self.tower(pixels_NSS3)}


def _freeze(tower: nn.Module, trained_stages: int) -> None:
    if not isinstance(tower, ImageTower):
        return
    stages = [*tower.early, *tower.late]
    for stage in stages[: max(0, len(stages) - trained_stages)]:
        stage.requires_grad_(False)
