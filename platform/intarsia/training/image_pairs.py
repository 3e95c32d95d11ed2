"""Pictures as another photographer might have taken them: a closer crop, mirrored, in other light.

Colour is what many queries ask for: light changes brightness, contrast and saturation, never the hue.

Letters: N pictures, S side.


The tower of an image encoder as training needs it, whatever its kind.

An image tower learns from what is written beside its pictures: its vector is to be near the vector of the own text, far from others'.

The text tower is frozen, its vectors are given. Whose texts they are, and where pictures come from, is `pipelines/`' matter.

With EfficientNet-Lite0 at 64 px on 1,907 pictures of `fashion15k`, two epochs, text to picture among 293 held-out ones: R@1 / R@10 / MRR
0.198 / 0.693 / 0.343 where the head alone learned, 0.256 / 0.819 / 0.431 where the last four stages learned with it.

Letters: B pairs of a batch, b of them on one worker, N products, T width of texts, D width of the tower, S side.
Source: InfoNCE in both directions as in Radford et al., ICML 2021, arXiv:2103.00020, figure 3; the side that is locked is the text's:
Zhai et al., "LiT", CVPR 2022, arXiv:2111.07991, lock the other.
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

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # how bright the eye finds red, green and blue (ITU-R BT.601)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelsConfig:
    """How much pictures are changed; the defaults of 1 and 0 for all of them would change nothing."""

    crop: float = setting("smallest share of the area that a crop keeps; 1 crops nothing", 0.7)
    flip: float = setting("share of the pictures that are mirrored; 0 mirrors none", 0.5)
    jitter: float = setting("brightness, contrast and saturation are multiplied by 1 ± up to this; 0 leaves them", 0.15)

    def __post_init__(self) -> None:
        check_range(self, "crop", low=0.05, high=1.0)
        check_range(self, "flip", low=0.0, high=1.0)
        check_range(self, "jitter", low=0.0, high=0.9)


def augment_pixels(
    pixels_NSS3: NDArray[np.uint8], rows_N: Rows, step: int, config: PixelsConfig, *, seed: int
) -> NDArray[np.uint8]:
    """Each picture changed by chance, which depends on the seed, the step and its row alone.

    Args:
        pixels_NSS3: squares, as `read_pixels` makes them; left as they are.
        rows_N: the examples they belong to.
        step: of the training.
        config: how much.
        seed: of the fit.
    """
    changed_NSS3 = np.empty_like(pixels_NSS3)
    for n, row in enumerate(rows_N):
        changed_NSS3[n] = _changed(pixels_NSS3[n], config, np.random.default_rng((seed, step, int(row))))
    return changed_NSS3


def _changed(pixels_SS3: NDArray[np.uint8], config: PixelsConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    pixels_SS3 = _cropped(pixels_SS3, rng.uniform(config.crop, 1.0), rng.random(2))
    if rng.random() < config.flip:
        pixels_SS3 = pixels_SS3[:, ::-1]
    return _relit(pixels_SS3, 1.0 + config.jitter * rng.uniform(-1.0, 1.0, 3)) if config.jitter else pixels_SS3


def _cropped(pixels_SS3: NDArray[np.uint8], area: float, place_2: NDArray[np.float64]) -> NDArray[np.uint8]:
    side = len(pixels_SS3)
    window = max(1, round(side * math.sqrt(area)))
    if window == side:
        return pixels_SS3
    top, left = (int(share * (side - window + 1)) for share in place_2)
    cut = Image.fromarray(pixels_SS3[top : top + window, left : left + window])
    return np.asarray(cut.resize((side, side), Image.Resampling.BICUBIC))


def _relit(pixels_SS3: NDArray[np.uint8], factors_3: NDArray[np.float64]) -> NDArray[np.uint8]:
    brightness, contrast, saturation = factors_3.astype(np.float32)
    light_SS3 = pixels_SS3.astype(np.float32) * brightness
    grey_SS1 = (light_SS3 @ _GREY)[:, :, None]
    mean = grey_SS1.mean()
    light_SS3 = mean + contrast * (grey_SS1 + saturation * (light_SS3 - grey_SS1) - mean)
    relit_SS3: NDArray[np.uint8] = np.clip(np.rint(light_SS3), 0, 255).astype(np.uint8)
    return relit_SS3


def open_trainable_image(config: ImageEncoderConfig) -> TrainableImage:
    """The tower of an image encoder as training needs it, its norms not yet folded away; raises like `open_image_encoder`.

    A folder of an earlier training is gone on with: its head, if it has one, is left behind.
    """
    encoder = open_image_encoder(config)  # knows what is allowed, and how wide it is
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


_MEASURED_AT_ONCE = 32
_NORMS = (nn.modules.batchnorm._BatchNorm,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePairsConfig:
    """What of the tower is trained, and against what."""

    temperature: float = setting("cosines are divided by it before any softmax; small sharpens", 0.05)
    trained_stages: int = setting(
        "so many of a convolutional network's last stages are trained, the ones before stay; 0 trains the head alone; does nothing for the "
        "CLIP family",
        4,
    )
    adapter: AdapterConfig = setting(
        "what of a vision transformer (the CLIP family) is trained: all, upper or lora; convolutional networks allow all alone, which is "
        "their last stages",
        factory=AdapterConfig,
    )
    pixels: PixelsConfig = setting("how pictures are changed while it learns", factory=PixelsConfig)

    def __post_init__(self) -> None:
        check_range(self, "trained_stages", low=0)
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; allowed: above 0")
        if self.adapter.kind == "adalora":
            raise ValueError("adapter.kind is adalora, which is for text towers; allowed here: all, upper, lora")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTrainingData:
    """Pictures with the vectors of their texts.

    Attributes:
        pictures: their bytes, all readable.
        texts_NT: unit vectors of the texts beside them.
        groups_N: equal for pictures whose texts say the same; they are no negatives of each other.
        held_out_N: pictures that teach nothing, on which is measured.
    """

    images: Sequence[bytes]
    texts_NT: NDArray[np.float32]
    groups_N: NDArray[np.int64]
    held_out_N: NDArray[np.bool_]


class ImagePairsTask:
    """`Learner` over pictures and the frozen vectors of their texts.

    The head takes the tower's vector into the space of the texts; `adapters` stay on the tower until they are merged. Norms keep the
    statistics they came with: a batch of one shop's pictures is no sample of what they were made for, and each worker would have its own.
    """

    def __init__(
        self, trainable: TrainableImage, training_data: ImageTrainingData, config: ImagePairsConfig, *, seed: int
    ) -> None:
        self._training_data, self._config, self._seed = training_data, config, seed
        self._image_px = trainable.image_px
        self._learned = np.flatnonzero(~training_data.held_out_N)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(trainable.dim, training_data.texts_NT.shape[1])
            self.adapters = Adapters(trainable.tower, config.adapter, 0)
        _freeze(trainable.tower, config.trained_stages)
        self._module = _PairedTower(TrainedImageTower(trainable.tower, self.head))
        self.num_examples = len(self._learned)

    @property
    def module(self) -> nn.Module:
        """Pixels in, `pictures` [b, T] out, in the space of the texts."""
        return self._module

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        """The pixels of these pictures, changed by chance."""
        pixels_bSS3 = read_pixels(
            [self._training_data.images[at] for at in self._learned[rows_b].tolist()], self._image_px
        )
        changed_bSS3 = augment_pixels(pixels_bSS3, rows_b, step, self._config.pixels, seed=self._seed)
        return {"pixels_NSS3": torch.from_numpy(changed_bSS3)}

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        """The mean of InfoNCE from pictures to texts and from texts to pictures."""
        images_BT = outputs["pictures"]
        at = self._learned[rows_B]
        texts_BT = torch.from_numpy(self._training_data.texts_NT[at]).to(images_BT.device)
        groups_B = torch.from_numpy(self._training_data.groups_N[at]).to(images_BT.device)
        scores_BB = images_BT @ texts_BT.T / self._config.temperature
        own_BB = torch.eye(len(at), device=images_BT.device)
        others_BB = groups_B[:, None] != groups_B[None, :]
        return 0.5 * (info_nce(scores_BB, own_BB, others_BB) + info_nce(scores_BB.T, own_BB, others_BB))

    def measure(self) -> Mapping[str, float]:
        """Text to picture among the held-out ones: `r@1`, `r@10`, `mrr`; the pictures of an equal text do not stand before the own one."""
        held = np.flatnonzero(self._training_data.held_out_N)
        if not len(held):
            return {}
        found_NT = self._vectors_of([self._training_data.images[at] for at in held.tolist()])
        scores_NN = self._training_data.texts_NT[held] @ found_NT.T
        others_NN = self._training_data.groups_N[held][:, None] != self._training_data.groups_N[held][None, :]
        ranks_N = 1 + ((scores_NN >= np.diag(scores_NN)[:, None]) & others_NN).sum(axis=1)
        return {
            "r@1": float((ranks_N == 1).mean()),
            "r@10": float((ranks_N <= 10).mean()),
            "mrr": float((1.0 / ranks_N).mean()),
        }

    def _vectors_of(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        device = self.head.weight.device
        parts = []
        for start in range(0, len(images), _MEASURED_AT_ONCE):
            pixels_NSS3 = read_pixels(images[start : start + _MEASURED_AT_ONCE], self._image_px)
            with torch.inference_mode():
                parts.append(self._module(torch.from_numpy(pixels_NSS3).to(device))["pictures"].cpu().numpy())
        return np.concatenate(parts)


class _PairedTower(nn.Module):
    """A tower as the loop calls it, its norms always as they serve."""

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
        return {"pictures": self.tower(pixels_NSS3)}


def _freeze(tower: nn.Module, trained_stages: int) -> None:
    if not isinstance(tower, ImageTower):
        return
    stages = [*tower.early, *tower.late]
    for stage in stages[: max(0, len(stages) - trained_stages)]:
        stage.requires_grad_(False)
