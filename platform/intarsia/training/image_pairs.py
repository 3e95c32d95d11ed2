"""An image tower learns from what is written beside its pictures: its vector is to be near the vector of the own text, far from others'.

The text tower is frozen, its vectors are given. Whose texts they are, and where pictures come from, is `pipelines/`' matter.

With EfficientNet-Lite0 at 64 px on 1,907 pictures of `fashion15k`, two epochs, text to picture among 293 held-out ones: R@1 / R@10 / MRR
0.198 / 0.693 / 0.343 where the head alone learned, 0.256 / 0.819 / 0.431 where the last four stages learned with it.

Letters: B pairs of a batch, b of them on one worker, N products, T width of texts, D width of the tower, S side.
Source: InfoNCE in both directions as in Radford et al., ICML 2021, arXiv:2103.00020, figure 3; the side that is locked is the text's:
Zhai et al., "LiT", CVPR 2022, arXiv:2111.07991, lock the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from intarsia.config import check_range, setting
from intarsia.encoders.cnn import ImageTower
from intarsia.encoders.image_folder import TrainableImage, TrainedImageTower
from intarsia.encoders.pixels import read_pixels
from intarsia.training.adapters import AdapterConfig, Adapters
from intarsia.training.image_augmentation import PixelsConfig, augment_pixels
from intarsia.training.losses import info_nce
from intarsia.training.task import Rows, Tensors

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
class ImageLessons:
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
        self, trainable: TrainableImage, training_data: ImageLessons, config: ImagePairsConfig, *, seed: int
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
